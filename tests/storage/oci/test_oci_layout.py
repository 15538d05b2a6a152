"""A layout folder: the contract, what it leaves on the disk, what others wrote, and what was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from contract import (
    INDEX,
    MANIFEST,
    OTHER,
    REPOSITORY,
    RepositoriesContract,
    chunks_of,
    described,
    put,
    put_image,
)

from hoist.errors import Damaged, FileNotFound, HoistError, InvalidReference, StorageNotFound
from hoist.model.manifest import digest_of
from hoist.storage.oci.layout import LayoutFolder
from makers import SOURCE, noise, run_python
from oci_tools import program

PATHS = os.pathsep.join(map(str, (SOURCE, Path(__file__).parents[2], Path(__file__).parent)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def place(root: Path) -> LayoutFolder:
    return LayoutFolder(root, f"oci-layout://{root}")


class TestContract(RepositoriesContract):
    shares_blobs = True

    @pytest.fixture
    def place(self, root: Path) -> LayoutFolder:
        return LayoutFolder(root, f"oci-layout://{root}")


def blobs(root: Path) -> set[str]:
    return {"sha256:" + path.name for path in (root / "blobs/sha256").iterdir()}


def names(root: Path) -> list[str | None]:
    listed = json.loads((root / "index.json").read_bytes())["manifests"]
    return [item.get("annotations", {}).get("org.opencontainers.image.ref.name") for item in listed]


def test_what_lies_in_the_folder(root: Path, place: LayoutFolder) -> None:
    manifest = put_image(place, "v1", [noise(1000)])
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert names(root) == [f"{REPOSITORY}:v1"]
    assert digest_of(manifest) in blobs(root)
    assert list((root / ".hoist").iterdir()) == []


def test_a_folder_of_something_else_is_not_written_to(root: Path, place: LayoutFolder) -> None:
    root.mkdir()
    (root / "letter.txt").write_text("Dear Ada")
    with pytest.raises(StorageNotFound, match="no OCI image layout"):
        put(place, b"x")
    assert [path.name for path in root.iterdir()] == ["letter.txt"]


def test_a_missing_folder_is_said_when_it_is_listed(place: LayoutFolder) -> None:
    with pytest.raises(StorageNotFound, match="there is no folder"):
        list(place.repositories(""))


def test_delete_removes_the_blobs_that_nothing_else_names(root: Path, place: LayoutFolder) -> None:
    gone = put_image(place, "v1", [noise(1000), noise(2000)], "one")
    stays = put_image(place, "v2", [noise(1000)], "two", OTHER)
    before = blobs(root)
    place.delete_manifest(REPOSITORY, digest_of(gone))
    config = json.loads(gone)["config"]["digest"]
    assert before - blobs(root) == {digest_of(gone), digest_of(noise(2000)), config}
    assert place.manifest(OTHER, "v2").data == stays


def test_delete_keeps_what_an_index_reaches(root: Path, place: LayoutFolder) -> None:
    child = put_image(place, "amd64", [noise(1000)])
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(MANIFEST, child)]}).encode()
    place.put_manifest(REPOSITORY, "multi", index, INDEX)
    before = blobs(root)
    place.delete_manifest(REPOSITORY, digest_of(child))
    assert blobs(root) == before
    assert list(place.tags(REPOSITORY)) == ["multi"]
    place.delete_manifest(REPOSITORY, digest_of(index))
    assert blobs(root) == set()


def test_delete_deletes_no_blob_where_a_manifest_cannot_be_read(root: Path, place: LayoutFolder) -> None:
    gone = put_image(place, "v1", [noise(1000)], "one")
    torn = put_image(place, "v2", [noise(2000)], "two")
    (root / "blobs/sha256" / digest_of(torn).removeprefix("sha256:")).write_bytes(b"{")
    before = blobs(root)
    place.delete_manifest(REPOSITORY, digest_of(gone))
    assert blobs(root) == before
    assert list(place.tags(REPOSITORY)) == ["v2"]


def test_damage_at_rest_is_noticed(root: Path, place: LayoutFolder) -> None:
    digest, _ = put(place, noise(3000))
    path = root / "blobs/sha256" / digest.removeprefix("sha256:")
    path.write_bytes(noise(2999) + b"\0")
    with pytest.raises(Damaged):
        place.read_blob(REPOSITORY, digest, 3000)
    with place.stream_blob(REPOSITORY, digest, 3000) as slices, pytest.raises(Damaged):
        list(slices)


@pytest.mark.parametrize(
    "index",
    [
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"manifests": 3}',
        b'{"manifests": [3]}',
        b'{"manifests": [{"digest": 5, "size": 3}]}',
        b'{"manifests": [{"digest": "sha256:x", "size": -1}]}',
    ],
)
def test_an_index_that_is_none_is_damaged(root: Path, place: LayoutFolder, index: bytes) -> None:
    put_image(place, "v1", [noise(1000)])
    (root / "index.json").write_bytes(index)
    with pytest.raises(Damaged, match=r"index\.json"):
        place.tags(REPOSITORY)
    with pytest.raises(Damaged):
        place.put_manifest(REPOSITORY, "v2", b"{}", MANIFEST)
    assert (root / "index.json").read_bytes() == index


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha512:" + "0" * 128, "../index.json", ""])
def test_a_digest_names_nothing_outside(place: LayoutFolder, digest: str) -> None:
    put(place, b"x")
    assert place.blob_size(REPOSITORY, digest) is None
    with pytest.raises(FileNotFound):
        place.read_blob(REPOSITORY, digest, 1 << 20)


def test_a_tag_is_a_tag(place: LayoutFolder) -> None:
    with pytest.raises(InvalidReference):
        place.put_manifest(REPOSITORY, "a:b", b"{}", MANIFEST)


def test_names_as_other_tools_write_them(root: Path, place: LayoutFolder) -> None:
    """A tag alone, a name with its host, and no name; the image says which model it holds."""
    held = json.dumps([{"name": "sd15/anything", "label": "v5", "digest": digest_of(b""), "documents": ""}])
    plain = put_image(place, "v5", [noise(1000)], repository="")
    hoisted = put_image(place, "v6", [noise(1000)], annotations={"dev.hoist.versions": held}, repository="")
    podman = put_image(place, "v5", [noise(2000)], annotations={"dev.hoist.versions": held}, repository="localhost/x")
    assert names(root) == ["v5", "v6", "localhost/x:v5"]
    assert list(place.repositories("")) == ["", "sd15/anything"]
    assert list(place.tags("")) == ["v5", "v6"]
    assert list(place.tags("sd15/anything")) == ["v5", "v6"]
    assert place.manifest("", "v5").data == plain
    assert place.manifest("", "v6").data == hoisted
    assert place.manifest("sd15/anything", "v6").data == hoisted
    assert place.manifest("sd15/anything", "v5").data == podman
    # Hoist's own name takes the place of such a one.
    place.put_manifest("sd15/anything", "v5", hoisted, MANIFEST)
    assert place.manifest("sd15/anything", "v5").data == hoisted
    assert place.manifest("", "v5").data == plain


def test_a_killed_upload_goes_on_where_it_stopped(root: Path, place: LayoutFolder) -> None:
    data = noise(8 << 20)
    code = """
import os, signal, sys
from pathlib import Path
from hoist.model.manifest import digest_of
from hoist.storage.oci.layout import LayoutFolder
from makers import noise
data = noise(8 << 20)
def chunks(offset):
    yield memoryview(data)[: 3 << 20]
    os.kill(os.getpid(), signal.SIGKILL)
LayoutFolder(Path(sys.argv[1]), "x").put_blob("r", digest_of(data), len(data), chunks, lambda count: None, "w")
"""
    process = run_python(code, str(root))
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert blobs(root) == set()
    asked: list[int] = []
    sent: list[int] = []
    place.put_blob("r", digest_of(data), len(data), chunks_of(data, asked=asked), sent.append, "w")
    assert asked == [3 << 20]
    assert sum(sent) == 5 << 20
    assert place.read_blob("r", digest_of(data), len(data)) == data
    assert list((root / ".hoist").iterdir()) == []


def test_what_an_earlier_run_left_wrong_is_written_anew(root: Path, place: LayoutFolder) -> None:
    data = noise(3000)

    def broken(offset: int) -> object:
        yield memoryview(noise(1000, 1))
        raise HoistError("gone")

    with pytest.raises(HoistError, match="gone"):
        place.put_blob("r", digest_of(data), len(data), broken, lambda count: None, "w")  # type: ignore[arg-type]
    assert len(list((root / ".hoist").iterdir())) == 1
    asked: list[int] = []
    place.put_blob("r", digest_of(data), len(data), chunks_of(data, asked=asked), lambda count: None, "w")
    assert asked == [1000, 0]
    assert place.read_blob("r", digest_of(data), len(data)) == data


def test_two_write_one_blob_at_once(root: Path, place: LayoutFolder) -> None:
    data = noise(3 << 20)

    def chunks(offset: int) -> object:
        yield memoryview(data)[: 1 << 20]
        # Another comes in the middle, with the same name for its notes.
        put(LayoutFolder(root, "x"), data, resume="w")
        yield memoryview(data)[1 << 20 :]

    place.put_blob(REPOSITORY, digest_of(data), len(data), chunks, lambda count: None, "w")  # type: ignore[arg-type]
    assert place.read_blob(REPOSITORY, digest_of(data), len(data)) == data
    assert list((root / ".hoist").iterdir()) == []


def test_processes_that_put_at_once_lose_no_tag(root: Path) -> None:
    code = """
import sys
from pathlib import Path
from hoist.storage.oci.layout import LayoutFolder
from makers import noise
from contract import put_image
place = LayoutFolder(Path(sys.argv[1]), "x")
for number in range(10):
    put_image(place, f"{sys.argv[2]}-{number}", [noise(100 + number)])
"""
    running = [run_python(code, str(root), name, PYTHONPATH=PATHS) for name in ("a", "b", "c")]
    for process in running:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    assert len(LayoutFolder(root, "x").tags(REPOSITORY)) == 30


def test_skopeo_reads_and_writes_it(root: Path, tmp_path: Path, place: LayoutFolder) -> None:
    skopeo = program("skopeo")
    import io
    import tarfile

    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("hello"))
    manifest = put_image(place, "v1", [made.getvalue()])
    other = tmp_path / "other"
    copied = ["copy", "--preserve-digests", f"oci:{root}:{REPOSITORY}:v1", f"oci:{other}:v1"]
    subprocess.run([skopeo, "--insecure-policy", *copied], check=True, capture_output=True)
    theirs = LayoutFolder(other, "theirs")
    assert theirs.manifest("", "v1").data == manifest
    layer = json.loads(manifest)["layers"][0]
    assert theirs.read_blob("", layer["digest"], 1 << 20) == made.getvalue()
    # And back, into the folder that Hoist writes.
    subprocess.run(
        [skopeo, "--insecure-policy", "copy", "--preserve-digests", f"oci:{other}:v1", f"oci:{root}:v2"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert place.manifest("", "v2").data == manifest
    put_image(place, "v3", [made.getvalue()], "three")
    assert set(names(root)) == {f"{REPOSITORY}:v1", "v2", f"{REPOSITORY}:v3"}
    shutil.rmtree(other)
