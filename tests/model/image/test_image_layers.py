"""Which files share a layer, and each layer's bytes: from any offset, as Python's tarfile reads them."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import StorageUnsupported
from hoist.model.image.contents import Contents, PlacedLayer
from hoist.model.image.layers import (
    MOST_LAYERS,
    SMALL_BYTES,
    HeldFile,
    HeldLayer,
    Layer,
    Plan,
    Span,
    documents_layer,
    file_layer,
    group_files,
    held_layers,
    plan,
)
from hoist.model.image.untar import members_of
from hoist.model.manifest import FileEntry, Manifest, digest_of

PATHS = st.lists(st.sampled_from(["a", "b", "unet", "deep", "x" * 90, "汉"]), min_size=1, max_size=4).map("/".join)
DATA = st.dictionaries(PATHS, st.binary(max_size=1200), min_size=1, max_size=6).map(
    lambda files: {f"{path}.bin": data for path, data in files.items()}
)


def entries(files: dict[str, bytes]) -> list[FileEntry]:
    return [FileEntry(path, len(data), digest_of(data)) for path, data in files.items()]


def large(path: str, size: int = SMALL_BYTES, digest: str = "") -> FileEntry:
    return FileEntry(path, size, digest or digest_of(path.encode()))


def contents_of(layer: Layer, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"models/sd15/any/v1/{path}": data for path, data in files.items()}


@given(DATA, st.data())
def test_a_layer_from_any_offset(files: dict[str, bytes], data: st.DataObject) -> None:
    layer = file_layer("sd15/any", "v1", entries(files))
    content = contents_of(layer, files)
    whole = layer.to_bytes(content)
    assert len(whole) == layer.size
    offset = data.draw(st.integers(0, layer.size))
    rest = b"".join(
        part if isinstance(part, bytes) else content[part.path][part.begin : part.end] for part in layer.stream(offset)
    )
    assert rest == whole[offset:]
    with tarfile.open(fileobj=io.BytesIO(whole)) as opened:
        read = {each.name: opened.extractfile(each).read() for each in opened if each.isreg()}  # type: ignore[union-attr]
        folders = {each.name for each in opened if each.isdir()}
    assert read == content
    assert folders == {path[:at] for path in content for at, c in enumerate(path) if c == "/"}
    for member in members_of(whole):
        if member.kind == "file" and member.size:
            assert layer.offsets[member.path] == member.offset


@given(st.lists(st.integers(0, 3 * SMALL_BYTES), min_size=1, max_size=300), st.integers(3, MOST_LAYERS))
def test_every_file_is_in_one_layer(sizes: list[int], most: int) -> None:
    files = [FileEntry(f"{number:03}", size, digest_of(b"%d" % number)) for number, size in enumerate(sizes)]
    groups = group_files(reversed(files), most)
    assert sorted(entry for group in groups for entry in group) == files
    assert len(groups) + 1 <= most
    alone = [group for group in groups if group[0].size >= SMALL_BYTES]
    assert all(entry.size >= SMALL_BYTES for group in alone for entry in group)
    counts = [len(group) for group in alone]
    assert not counts or max(counts) - min(counts) <= 1
    assert [entry for group in alone for entry in group] == [entry for entry in files if entry.size >= SMALL_BYTES]
    if len(alone) < len(groups):
        assert all(entry.size < SMALL_BYTES for entry in groups[-1])


def test_a_files_layer_depends_on_nothing_else() -> None:
    one = plan([large("a"), large("b"), FileEntry("c", 3, digest_of(b"c"))], "sd15/any", "v1")
    other = plan([large("b")], "sd15/any", "v1")
    assert [each.layer.kind for each in one.layers] == ["file", "file", "files"]
    assert other.layers[0].layer == one.layers[1].layer
    assert list(one.layers[0].layer.stream())[1:2] == [Span("models/sd15/any/v1/a", 0, SMALL_BYTES)]


def test_kept_layers_are_linked_to() -> None:
    files = [
        large("unet/w.bin"),
        large("vae.bin"),
        FileEntry("c", 3, digest_of(b"c")),
        FileEntry("d", 0, digest_of(b"")),
    ]
    old = plan(files[:1] + files[2:], "sd15/any", "v5")
    ids = [digest_of(b"%d" % number) for number in range(3)]
    manifest = Manifest.build(files[:1] + files[2:], b"")[0]
    held = held_layers(old.contents(ids[:2]), manifest)
    new = plan(files, "sd15/any", "v6", held)
    assert [each.held is not None for each in new.layers] == [True, False, True]
    assert [each.files[0].path for each in new.made] == ["vae.bin"]
    assert {member.path: member.link for member in new.symlinks()} == {
        "models/sd15/any/v6/unet/w.bin": "../../v5/unet/w.bin",
        "models/sd15/any/v6/c": "../v5/c",
        "models/sd15/any/v6/d": "../v5/d",
    }
    contents = new.contents([ids[0], ids[2], ids[1]])
    placed, file = contents.by_path["unet/w.bin"]
    assert (placed.diff_id, file.member) == (ids[0], "models/sd15/any/v5/unet/w.bin")
    assert file.offset == old.layers[0].layer.offsets["models/sd15/any/v5/unet/w.bin"]
    assert contents.by_path["vae.bin"][1].member == "models/sd15/any/v6/vae.bin"
    # And once more: the layers keep their names however often they are kept.
    again = plan(files, "sd15/any", "v7", held_layers(contents, Manifest.build(files, b"")[0]))
    assert again.made == ()
    assert {member.link for member in again.symlinks()} == {
        "../../v5/unet/w.bin",
        "../v6/vae.bin",
        "../v5/c",
        "../v5/d",
    }


def test_a_layer_with_other_files_is_not_kept() -> None:
    file = large("a")
    more = HeldFile(file.digest, file.size, "models/x/v1/a", 512)
    for held in ([more, more], [], [HeldFile(file.digest, file.size + 1, "models/x/v1/a", 512)]):
        assert plan([file], "x", "v2", [HeldLayer(digest_of(b""), tuple(held))]).layers[0].held is None
    assert plan([file], "x", "v2", [HeldLayer(digest_of(b""), (more,))]).layers[0].held is not None


def test_links_of_the_version() -> None:
    file = large("a")
    made = plan([file, FileEntry("f/b", file.size, file.digest, "../a")], "x", "v1")
    assert [member.link for member in made.symlinks()] == ["../a"]
    assert list(made.contents([digest_of(b"")]).by_path) == ["a"]
    found = members_of(documents_layer(made.symlinks()).to_bytes({}))
    assert (found[-1].path, found[-1].link) == ("models/x/v1/f/b", "../a")


@pytest.mark.parametrize("path", [".wh.a", "folder/.wh.b", ".wh.folder/c"])
def test_names_that_remove_others(path: str) -> None:
    with pytest.raises(StorageUnsupported, match="rename"):
        plan([FileEntry(path, 1, digest_of(b"1"))], "x", "v1")


@given(DATA)
def test_contents_are_what_the_archive_says(files: dict[str, bytes]) -> None:
    made: Plan = plan(entries(files), "sd15/any", "v1")
    layers = [each.layer.to_bytes(contents_of(each.layer, files)) for each in made.layers]
    contents = made.contents([digest_of(data) for data in layers])
    assert Contents.parse(contents.to_bytes()) == contents
    for placed, data in zip(contents.layers, layers, strict=True):
        assert placed.least_bytes <= len(data)
        for file in placed.files:
            assert data[file.offset : file.offset + file.size] == files[file.path]


def test_least_bytes_is_the_whole_layer() -> None:
    made = plan([large("a", SMALL_BYTES + 1), large("b")], "x", "v1", most_layers=3)
    assert len(made.layers) == 1
    placed: PlacedLayer = made.contents([digest_of(b"")]).layers[0]
    assert placed.least_bytes == made.layers[0].layer.size
