"""Targets: Hoist's own documents and texts."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import accumulate
from pathlib import Path

from fuzz_target import Target, attempt, scratch

from hoist.config import load_config, parse_size
from hoist.errors import HoistError, InvalidConfig, InvalidFile, InvalidManifest, InvalidReference, NotFound
from hoist.model.blocks import BlockTable
from hoist.model.manifest import ARTIFACT_TYPE, BLOCKS_TYPE, FILEPATH, MANIFEST_TYPE, FileEntry, Manifest, digest_of
from hoist.model.packs import MAX_PACK_BYTES, Pack, PackIndex, lay_out, most_index_bytes
from hoist.model.reference import is_label, parse_location, parse_reference
from hoist.rollout.stack import stood_before
from hoist.storage import layout, open_storage
from hoist.storage.base import Version
from hoist.storage.moves import read_moves, write_moves
from hoist.storage.tree import TreeStorage
from hoist.tensors.index import shard_names
from makers import V1, blocks_of, directory_storage, noise, put_version

_ONE_FILE = {"w.bin": b"weights" * 9}


def check_manifest(data: bytes) -> bool:
    """A manifest that is read names files that can be pulled to a folder without leaving it."""
    found = attempt(lambda: Manifest.parse(data), InvalidManifest)
    if found is None:
        return False
    assert found.data == data
    assert found.files
    assert len(found.by_path) == len(found.files)
    root = Path("/folder")
    for file in found.files:
        assert file.size >= 0
        assert "\0" not in file.path
        assert Path(os.path.normpath(root / file.path)) == root / file.path != root
    rebuilt, _ = Manifest.build(found.files, b"")
    assert Manifest.parse(rebuilt.data).files == tuple(sorted(found.files))
    return True


def check_blocks(data: bytes) -> bool:
    """A table has one encoding: what is read is written the same."""
    found = attempt(lambda: BlockTable.parse(data), InvalidManifest)
    if found is None:
        return False
    assert found.to_bytes() == data
    for digest, blocks in found.files.items():
        assert found.of(digest, blocks.size) is blocks
        assert len(blocks.digests) == 32 * len(blocks)
        assert all(begin < end for begin, end in map(blocks.span, range(len(blocks))))
        assert blocks.covering(0, blocks.size) == range(len(blocks))
    return True


def check_packs(data: bytes) -> bool:
    """A pack index that is read has one encoding, and places that lie inside packs and do not overlap."""
    manifest = _packable()
    found = attempt(lambda: PackIndex.parse(data, manifest), InvalidManifest)
    if found is None:
        return False
    assert found.to_bytes() == data
    assert len(data) <= most_index_bytes(manifest)
    for pack in found.packs:
        assert 0 < pack.size <= MAX_PACK_BYTES
        end = 0
        for place, offset, file in zip(pack.places, pack.offsets, pack.files, strict=True):
            assert manifest.files[place] is file
            assert offset >= end
            end = offset + file.size
        assert len(pack.digest) == len("sha256:") + 64
    return True


@cache
def _packable() -> Manifest:
    entries = [FileEntry(f"f{n:03}", 60_000 + 1000 * n, digest_of(b"%d" % n)) for n in range(40)]
    return Manifest.build(entries, b"")[0]


def _packs() -> list[bytes]:
    manifest = _packable()
    indices = [lay_out(manifest, below).to_bytes() for below in (0, 80_000, 256 << 10)]
    files = manifest.files
    cut = [Pack(files[n : n + 9], array("I", range(n, n + 9)), _offsets(files[n : n + 9])) for n in range(0, 36, 9)]
    return [*indices, PackIndex(manifest.digest, tuple(cut)).to_bytes()]


def _offsets(files: Sequence[FileEntry]) -> array[int]:
    return array("I", accumulate((file.size for file in files[:-1]), initial=0))


def check_index(data: bytes) -> bool:
    """An index of shards names files in its own folder only."""
    found = attempt(lambda: shard_names(data, "model.safetensors.index.json"), InvalidFile)
    if found is None:
        return False
    root = Path("/folder")
    for shard in found:
        assert Path(os.path.normpath(root / shard)).is_relative_to(root), shard
    return True


def check_tag(data: bytes) -> bool:
    """Whatever stands where a tag should: the version that it names with the right digest, or an error; moves that can be
    shown and written again; and a place to go back to that is a version's."""
    storage, digest = _storage()
    (storage.objects.root / layout.tag_key("m/one", "stable")).write_bytes(data)  # type: ignore[attr-defined]
    found = attempt(lambda: storage.resolve(parse_reference("m/one:stable")), HoistError)
    assert found is None or found[1].digest == digest
    attempt(lambda: list(storage.tags()), HoistError)
    for move in storage.tag_moves("m/one", "stable"):
        assert read_moves(write_moves([move]), "m/one", "stable") == [move]
        assert f"{move.by}{move.note}".isprintable()
        assert datetime.fromtimestamp(move.at).year < 10_000
        assert is_label(move.label)
    now = storage.find_tag("m/one", "stable")
    back = now and stood_before(storage.tag_moves("m/one", "stable"), now)
    assert not back or is_label(back.label)
    return found is not None


def check_reference(data: bytes) -> bool:
    """A location that is read is written so that it is read the same."""
    text = data.decode("utf-8", "surrogateescape")
    reference = attempt(lambda: parse_reference(text), InvalidReference)
    location = attempt(lambda: parse_location(text), InvalidReference)
    if reference:
        assert parse_reference(str(reference)) == reference
        path = layout.file_key(Version(reference.name, reference.label or "x"), "f")
        assert Path(os.path.normpath(f"/r/{path}")) == Path(f"/r/{path}")
        assert not path.startswith(".")
    if location:
        assert parse_location(str(location)) == location
    return bool(reference or location)


def check_config(data: bytes) -> bool:
    """hoist.toml, then (after a NUL) a variable's value, which is read as every kind of value there is."""
    text, _, value = data.partition(b"\0")
    path = scratch() / "hoist.toml"
    path.write_bytes(text)
    found = attempt(lambda: load_config({"HOIST_CONFIG": str(path)}), InvalidConfig)
    if found:
        assert found.engine.memory_bytes >= 1 << 20
        assert found.engine.retry_seconds >= 0
        assert all(storage.url for storage in found.storages.values())
        for storage in found.storages.values():
            attempt(lambda storage=storage: open_storage(storage, {}).close(), HoistError)  # type: ignore[misc]
    word = value.decode("utf-8", "surrogateescape")
    size = attempt(lambda: parse_size(word), InvalidConfig)
    assert size is None or size >= 0
    fields = (
        "MEMORY",
        "CONNECTIONS",
        "RETRY_SECONDS",
        "RECHECK",
        "STORAGE_X_URL",
        "STORAGE_URL_KIND",
        f"STORAGE_{word}",
    )
    for field in fields:
        attempt(lambda field=field: load_config({f"HOIST_{field}": word}, Path("/")), InvalidConfig, NotFound)  # type: ignore[misc]
    return found is not None


@cache
def _storage() -> tuple[TreeStorage, str]:
    storage = directory_storage(scratch() / "models")
    manifest = put_version(storage, _ONE_FILE, 16, V1)
    (scratch() / "models/.hoist/tags/m/one").mkdir(parents=True)
    return storage, manifest.digest


def _manifests() -> list[bytes]:
    names = (["a.bin"], ["README.md", "unet/a.safetensors", "vae/b.ckpt"], [f"é{n}/x y.json" for n in range(5)])
    entries = ([FileEntry(name, 7 * at, digest_of(name.encode())) for at, name in enumerate(some)] for some in names)
    return [Manifest.build(some, b"table")[0].data for some in entries]


def _tables() -> list[bytes]:
    some = [blocks_of(noise(size, size), 16) for size in (0, 5, 16, 100)]
    return [BlockTable.build(some[:count]).to_bytes() for count in (0, 1, 4)]


def _indices() -> list[bytes]:
    names = ["model-1-of-2.safetensors", "sub/b.safetensors"]
    return [
        json.dumps({"metadata": {"total_size": 1}, "weight_map": {n: n for n in names}}).encode(),
        b'{"weight_map":{}}',
    ]


def _tags() -> list[bytes]:
    _, digest = _storage()
    good = {"version": "v1", "digest": digest}
    other = {"version": "v0", "digest": f"sha256:{0:064}"}
    moves = [{**other, "at": 1.5, "by": "a@b"}, {**good, "at": 2, "by": "c", "note": "rollout", "before": other}]
    different: tuple[dict[str, object], ...] = (
        {},
        {"version": "v2"},
        {"version": ".."},
        {"digest": 5},
        {"moves": moves},
        {"moves": moves[:1]},
    )
    return [json.dumps(good | more).encode() for more in different]


def _references() -> list[bytes]:
    digest = b"sha256:" + b"0a" * 32
    names = (b"sd15/anything:v5", b"m", b"a.b_c-d/e__f@" + digest)
    places = (b"", b"nas//", b"s3://bucket/a/b//", b"file:///srv//", b"./rel//", b"/abs//")
    return [place + name for place in places for name in names]


def _configs() -> list[bytes]:
    toml = b"""[storage.oss]\nurl = "s3://b/p"\nkind = "oss"\nregion = "eu"\nendpoint = "http://h"\npath_style = true
ca_bundle = "x"\nprofile = "y"\nanonymous = false\n[storage.nas]\nurl = "rel/path"\n"""
    engine = b'[engine]\nconnections = 8\nmemory = "256MiB"\nretry_seconds = 1.5\nrecheck = true\n'
    return [toml + engine + b"\0" + value for value in (b"1.5G", b"512MiB", b"8", b"true", b"/srv", b"s3://b")]


_JSON = (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b'"',
    b"\\u0000",
    b"../",
    b"null",
    b"1e9",
    b"-1",
    b'"digest":"sha256:',
    b'"size":',
)
_MANIFEST = tuple(f'"{word}"'.encode() for word in (MANIFEST_TYPE, ARTIFACT_TYPE, BLOCKS_TYPE, FILEPATH, "layers"))
_TOML = (
    b"[storage.",
    b"[engine]\n",
    b"url = ",
    b"memory = ",
    b"nan",
    b"inf",
    b"1e400",
    b"'''",
    b'"""',
    b"[[",
    b"9" * 30,
)

TARGETS = (
    Target("manifest", check_manifest, _manifests, (*_JSON, *_MANIFEST, b'"annotations":{', b".hoist", b"\\\\")),
    Target("blocks", check_blocks, _tables, (b"HOISTBK\x01", b"\x01\0\0\0", b"\0" * 8, b"\xff" * 4, bytes(32))),
    Target("packs", check_packs, _packs, (b"HOISTPK\x01", b"\x01\0\0\0", b"\x09\0\0\0", bytes(4), b"\xff" * 4)),
    Target("index", check_index, _indices, (*_JSON, b'"weight_map":{', b'".."', b'"/"', b".safetensors")),
    Target("tag", check_tag, _tags, (*_JSON, b'"version":', b'"v1"', b'"moves":[', b'"before":{', b'"at":')),
    Target("reference", check_reference, _references, (b"//", b"@sha256:", b":", b"s3://", b"file:///", b"..", b"__")),
    Target("config", check_config, _configs, _TOML),
)
