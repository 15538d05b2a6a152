"""`hoist://` through the real fsspec: what it lists, what it reads, and what it refuses."""

from __future__ import annotations

import builtins
import random
import tomllib
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integration_making import configure, publish_files

import hoist
from hoist.errors import Damaged, InvalidReference, NotFound, StorageUnsupported, UsageError
from hoist.integrations.fsspec_paths import Place, parent_of, parse_path
from hoist.model.manifest import digest_of
from hoist.model.reference import parse_reference
from hoist.read.engine import Engine
from hoist.storage.wrap import Counting
from makers import memory_storage, noise, put_version

fsspec: Any = pytest.importorskip("fsspec")
ENTRY_POINTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]
FILES = {
    "model_index.json": b'{"_class_name": "Test"}',
    "unet/config.json": b"{}",
    "unet/weights.bin": noise(300_000, 1),
    "vae/weights.bin": noise(70_000, 2),
    "table.csv": b"a,b\n1,2\n3,4\n",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whose storage `nas` holds two models; `hoist://` is known to fsspec as an installed Hoist says it."""
    entry = EntryPoint("hoist", ENTRY_POINTS["fsspec.specs"]["hoist"], "fsspec.specs")
    fsspec.register_implementation("hoist", entry.load(), clobber=True)
    # fsspec keeps file systems, and one keeps what it has opened by another user's configuration.
    entry.load().clear_instance_cache()
    configure(monkeypatch, tmp_path, nas=str(tmp_path / "nas"))
    publish_files(tmp_path / "nas", "sd15/anything:v5", FILES)
    publish_files(tmp_path / "nas", "llm/tiny:v1", {"config.json": b"{}"})
    hoist.tag("nas//sd15/anything:v5", "stable")
    return tmp_path


@pytest.fixture
def fs(home: Path) -> Any:
    return fsspec.filesystem("hoist", skip_instance_cache=True)


@pytest.mark.parametrize(
    ("path", "place", "parent"),
    [
        ("nas", Place("nas"), ""),
        ("nas//sd15", Place("nas", "sd15"), "nas"),
        ("nas//sd15/anything:v5", Place("nas", "", parse_reference("sd15/anything:v5")), "nas//sd15"),
        ("nas//a:v5/x/y.bin", Place("nas", "", parse_reference("a:v5"), "x/y.bin"), "nas//a:v5/x"),
        ("s3://b/p//a:v5/x", Place("s3://b/p", "", parse_reference("a:v5"), "x"), "s3://b/p//a:v5"),
        ("s3://b/p", Place("s3://b/p"), ""),
        ("/srv/models//a:v5/x:y", Place("/srv/models", "", parse_reference("a:v5"), "x:y"), "/srv/models//a:v5"),
        (
            f"nas//a@sha256:{'0' * 64}/x",
            Place("nas", "", parse_reference(f"a@sha256:{'0' * 64}"), "x"),
            f"nas//a@sha256:{'0' * 64}",
        ),
    ],
)
def test_what_a_path_names(path: str, place: Place, parent: str) -> None:
    assert parse_path(path) == place
    assert parent_of(path) == parent


def test_a_path_that_names_nothing_says_so() -> None:
    with pytest.raises(InvalidReference, match="invalid model name"):
        parse_path("nas//SD15:v1/x")


def test_it_lists_storages_models_versions_and_files(fs: Any) -> None:
    assert fs.ls("hoist://", detail=False) == ["nas"]
    assert sorted(fs.ls("hoist://nas", detail=False)) == ["nas//llm", "nas//sd15"]
    assert fs.ls("hoist://nas//sd15/", detail=False) == ["nas//sd15/anything:v5"]
    top = {each["name"]: each["type"] for each in fs.ls("hoist://nas//sd15/anything:v5")}
    assert top == {
        "nas//sd15/anything:v5/model_index.json": "file",
        "nas//sd15/anything:v5/table.csv": "file",
        "nas//sd15/anything:v5/unet": "directory",
        "nas//sd15/anything:v5/vae": "directory",
    }
    assert fs.find("nas//sd15/anything:v5") == [f"nas//sd15/anything:v5/{name}" for name in sorted(FILES)]
    assert len(fs.find("nas")) == len(FILES) + 1
    assert fs.glob("hoist://nas//sd15/*:v5/*/weights.bin") == [
        "nas//sd15/anything:v5/unet/weights.bin",
        "nas//sd15/anything:v5/vae/weights.bin",
    ]
    assert fs.du("nas//sd15/anything:v5") == sum(map(len, FILES.values()))


def test_what_it_says_of_a_file(fs: Any) -> None:
    found = fs.info("hoist://nas//sd15/anything:stable/unet/weights.bin")
    assert (found["size"], found["type"]) == (300_000, "file")
    assert fs.checksum(found["name"]) == found["digest"] == digest_of(FILES["unet/weights.bin"])
    assert fs.isdir("nas//sd15/anything:v5/unet")
    assert fs.isdir("nas//sd15")
    assert not fs.isfile("nas//sd15/anything:v5")
    for name in ("nas//sd15/anything:v5/nothing", "nas//sd15/anything:v9/x", "nas//other", "elsewhere//a:v1/x"):
        assert not fs.exists(name), name


def test_it_reads_verified_bytes(fs: Any, tmp_path: Path) -> None:
    data, path = FILES["unet/weights.bin"], "nas//sd15/anything:v5/unet/weights.bin"
    assert fs.cat_file(path) == data
    assert fs.cat_file(path, 10, -20) == data[10:-20]
    assert fs.cat_file(path, 20, 10) == b""
    assert fs.cat(["nas//sd15/anything:v5/unet/config.json", path])[path] == data
    assert (fs.head(path, 10), fs.tail(path, 10)) == (data[:10], data[-10:])
    with fs.open(path) as file:
        assert file.size == len(data)
        assert file.read(5) == data[:5]
        assert file.seek(-7, 2) == len(data) - 7
        assert file.read() == data[-7:]
    with fsspec.open("hoist://nas//sd15/anything:v5/table.csv", "rt") as file:
        assert list(file) == ["a,b\n", "1,2\n", "3,4\n"]
    fs.get("nas//sd15/anything:v5/", str(tmp_path / "here"), recursive=True)
    assert (tmp_path / "here" / "vae" / "weights.bin").read_bytes() == FILES["vae/weights.bin"]
    mapper = fs.get_mapper("nas//sd15/anything:v5/unet")
    assert set(mapper) == {"config.json", "weights.bin"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-40_000, 40_000), st.integers(-40_000, 40_000)), max_size=8))
def test_ranges_of_many_files_in_one_go(wanted: list[tuple[int, int, int]]) -> None:
    names = list(CONTENT)
    paths = [f"m//m/one:v1/{names[number]}" for number, _, _ in wanted]
    found = FS.cat_ranges(paths, [begin for _, begin, _ in wanted], [end for _, _, end in wanted], on_error="raise")
    assert found == [CONTENT[names[number]][begin:end] for number, begin, end in wanted]


CONTENT = {"a": noise(33_000, 5), "b": noise(1, 6), "c": noise(20_000, 7)}


def _in_memory() -> tuple[Any, Counting]:
    """A file system whose only storage counts what is asked of it."""
    from hoist.integrations.fsspec import HoistFileSystem

    storage = memory_storage()
    put_version(storage, CONTENT, 4096)
    found, counting = HoistFileSystem(skip_instance_cache=True), Counting(storage)
    found._storages["m"] = counting, Engine()
    return found, counting


FS, _ = _in_memory()


def test_ranges_bring_each_block_once() -> None:
    fs, counting = _in_memory()
    path = "m//m/one:v1/a"
    fs.info(path)
    fs.cat_ranges([path] * 50, [random.Random(n).randrange(0, 8000) for n in range(50)], [8100] * 50)
    assert counting.bytes["read_into"] <= 2 * 4096


def test_an_error_stands_in_the_place_of_its_range(fs: Any) -> None:
    good, bad = "nas//sd15/anything:v5/table.csv", "nas//sd15/anything:v5/nothing"
    first, second = fs.cat_ranges([good, bad], 0, 3)
    assert first == b"a,b"
    assert isinstance(second, builtins.FileNotFoundError)
    with pytest.raises(builtins.FileNotFoundError, match="has no file 'nothing'"):
        fs.cat_ranges([good, bad], 0, 3, on_error="raise")


def test_errors_are_hoists_and_the_built_in_ones(fs: Any) -> None:
    with pytest.raises(builtins.FileNotFoundError) as found:
        fs.open("nas//sd15/anything:v5/nothing")
    assert isinstance(found.value, NotFound)
    with pytest.raises(builtins.IsADirectoryError) as folder:
        fs.cat_file("nas//sd15/anything:v5/unet")
    assert isinstance(folder.value, UsageError)
    path = "nas//sd15/anything:v5/new"
    writes: list[Any] = [partial(fs.open, path, "wb"), partial(fs.rm, path), partial(fs.mkdir, path)]
    for write in [*writes, partial(fs.pipe_file, path, b"")]:
        with pytest.raises(builtins.PermissionError, match="read-only") as refused:
            write()
        assert isinstance(refused.value, StorageUnsupported)


def test_damaged_bytes_are_never_handed_out(fs: Any, home: Path) -> None:
    path = home / "nas/sd15/anything/v5/vae/weights.bin"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(Damaged, match="weights"):
        fs.cat_file("nas//sd15/anything:v5/vae/weights.bin")


def test_new_versions_are_seen_once_it_looks_again(fs: Any, home: Path) -> None:
    assert len(fs.ls("nas//sd15")) == 1
    publish_files(home / "nas", "sd15/anything:v6", {"x": b"x"})
    assert len(fs.ls("nas//sd15")) == 1
    assert fs.cat_file("nas//sd15/anything:v6/x") == b"x"
    assert len(fs.ls("nas//sd15", refresh=True)) == 2
    fs.close()
    assert fs.cat_file("nas//sd15/anything:v6/x") == b"x"


def test_options_are_those_of_a_storage(home: Path) -> None:
    from hoist.integrations.fsspec import HoistFileSystem

    with fsspec.open(f"hoist://{home}/nas//llm/tiny:v1/config.json", kind="nas") as file:
        assert file.read() == b"{}"
    with pytest.raises(UsageError, match="must be true or false"):
        HoistFileSystem(anonymous="perhaps", skip_instance_cache=True).ls("s3://models//")
