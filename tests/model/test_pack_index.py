"""The pack index: one encoding, nothing hostile gets through, and neighbours share packs."""

from __future__ import annotations

import hashlib
import random
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.errors import InvalidManifest
from hoist.model.manifest import FileEntry, Manifest
from hoist.model.packs import (
    ALIGNMENT,
    FEWEST_FILES,
    MAGIC,
    MAX_PACK_BYTES,
    MOST_PACK_BELOW,
    PACK_BELOW,
    PackIndex,
    lay_out,
    may_have_packs,
    most_index_bytes,
)

MIB = 1 << 20
SIZES = st.one_of(st.integers(0, 5000), st.integers(60_000, PACK_BELOW + 10), st.integers(0, MOST_PACK_BELOW + 10))
FILES = st.lists(st.tuples(SIZES, st.integers(0, 60)), min_size=1, max_size=80)


def manifest_of(contents: list[tuple[int, int]]) -> Manifest:
    """A manifest of files of such sizes; those of equal size and seed have equal contents."""
    entries = []
    for number, (size, seed) in enumerate(contents):
        digest = "sha256:" + hashlib.sha256(f"{size} {seed}".encode()).hexdigest()
        entries.append(FileEntry(f"f{number:05}", size, digest))
    return Manifest.build(entries, b"")[0]


MANY = manifest_of([(1000 + n, n) for n in range(20)])


@settings(max_examples=150, deadline=None)
@given(FILES, st.sampled_from([1, 1000, PACK_BELOW, MOST_PACK_BELOW]))
def test_a_layout_holds_every_small_content_once(contents: list[tuple[int, int]], below: int) -> None:
    manifest = manifest_of(contents)
    index = lay_out(manifest, below)
    wanted = {file.digest for file in manifest.files if 0 < file.size < below}
    packed = [file for pack in index.packs for file in pack.files]
    assert [file.digest for file in packed] == list(dict.fromkeys(file.digest for file in packed))
    assert {file.digest for file in packed} == (wanted if len(wanted) >= FEWEST_FILES else set())
    assert [file.path for file in packed] == sorted(file.path for file in packed)
    for pack in index.packs:
        spans = [(offset, offset + file.size) for offset, file in zip(pack.offsets, pack.files, strict=True)]
        assert spans[0][0] == 0
        assert all(0 <= b[0] - a[1] < ALIGNMENT for a, b in pairwise(spans))
        assert all(begin % ALIGNMENT == 0 for begin, end in spans if end - begin >= 64 << 10)
        assert pack.size == spans[-1][1] <= MAX_PACK_BYTES
    data = index.to_bytes()
    assert PackIndex.parse(data, manifest) == index
    assert len(data) <= most_index_bytes(manifest)
    assert may_have_packs(manifest) or not index.packs


def test_too_few_are_not_packed() -> None:
    for count in (0, 1, FEWEST_FILES - 1, FEWEST_FILES):
        manifest = manifest_of([(5000, n) for n in range(count)] + [(MIB, 0)])
        assert bool(lay_out(manifest, PACK_BELOW).packs) == (count == FEWEST_FILES)
    # One content many times over is one small file.
    assert not lay_out(manifest_of([(5000, 1)] * 40), PACK_BELOW).packs
    assert not lay_out(MANY, 0).packs


def test_packs_have_a_good_size_and_neighbours_share_them() -> None:
    rng = random.Random(1)
    contents = [(rng.randint(20_000, 200_000), n) for n in range(3000)]
    one = lay_out(manifest_of(contents), PACK_BELOW)
    sizes = [pack.size for pack in one.packs]
    assert all(8 * MIB <= size <= 32 * MIB for size in sizes[:-1])
    assert 10 * MIB < sum(sizes) / len(sizes) < 30 * MIB
    changed = [*contents]
    changed[700] = (55_555, 9999)
    two = lay_out(manifest_of(changed), PACK_BELOW)
    shared = {pack.digest for pack in one.packs} & {pack.digest for pack in two.packs}
    assert len(shared) >= len(one.packs) - 3


def test_a_digest_tells_the_bytes() -> None:
    same = lay_out(manifest_of([(1000 + n, n) for n in range(20)] + [(9 * MIB, 1)]), PACK_BELOW)
    assert same.packs[0].digest == lay_out(MANY, PACK_BELOW).packs[0].digest
    other = lay_out(manifest_of([(1000 + n, n + (n == 7)) for n in range(20)]), PACK_BELOW)
    assert other.packs[0].digest != same.packs[0].digest


def encoded(*packs: tuple[list[int], list[int]], count: int | None = None, manifest: Manifest = MANY) -> bytes:
    parts = [MAGIC, bytes.fromhex(manifest.digest[7:]), struct.pack("<I", len(packs) if count is None else count)]
    for places, offsets in packs:
        parts.append(struct.pack(f"<I{len(places)}I{len(offsets)}I", len(places), *places, *offsets))
    return b"".join(parts)


def test_another_tool_s_layout_is_read() -> None:
    found = PackIndex.parse(encoded(([3, 5], [0, 2000]), ([6], [0])), MANY)
    assert [[file.path for file in pack.files] for pack in found.packs] == [["f00003", "f00005"], ["f00006"]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        b"HOISTPK\x02" + encoded()[8:],
        encoded(manifest=manifest_of([(1, 1)])),
        encoded() + b"\0",
        encoded(count=1),
        encoded(count=(1 << 32) - 1),
        encoded(([], [])),
        encoded(([0], [1])),
        encoded(([20], [0])),
        encoded(([1, 0], [0, 2000])),
        encoded(([0, 0], [0, 2000])),
        encoded(([0, 1], [0, 999])),
        encoded(([0, 1], [0, 1000 + ALIGNMENT])),
        encoded(([0, 1], [0, (1 << 32) - 1])),
        encoded(([4], [0]), ([4], [0])),
        encoded(([4], [0]), ([2], [0])),
        encoded()[:-4] + struct.pack("<II", 1, (1 << 32) - 1),
    ],
)  # fmt: skip
def test_malformed(data: bytes) -> None:
    with pytest.raises(InvalidManifest, match="pack index"):
        PackIndex.parse(data, MANY)


def test_files_that_cannot_be_packed() -> None:
    manifest = manifest_of([(0, 0), (MOST_PACK_BELOW, 1), (5, 2), (5, 2)])
    for bad in (encoded(([0], [0]), manifest=manifest), encoded(([1], [0]), manifest=manifest)):
        with pytest.raises(InvalidManifest, match="no place"):
            PackIndex.parse(bad, manifest)
    with pytest.raises(InvalidManifest, match="twice"):
        PackIndex.parse(encoded(([2, 3], [0, 5]), manifest=manifest), manifest)
    with pytest.raises(InvalidManifest, match="twice"):
        PackIndex.parse(encoded(([2], [0]), ([3], [0]), manifest=manifest), manifest)


def test_a_pack_that_is_too_large() -> None:
    size = MOST_PACK_BELOW - 1
    manifest = manifest_of([(size, n) for n in range(20)])
    places = list(range(20))
    offsets = [at * size for at in places]
    with pytest.raises(InvalidManifest, match="no place"):
        PackIndex.parse(encoded((places, offsets), manifest=manifest), manifest)
