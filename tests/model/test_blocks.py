"""The block table: exactly one encoding, and nothing else is read."""

from __future__ import annotations

import struct

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import HoistError, InvalidManifest
from hoist.model.blocks import DIGEST_BYTES, MAGIC, MAX_BLOCK_BYTES, BlockTable, FileBlocks, block_digest, file_blocks
from hoist.model.manifest import digest_of
from makers import blocks_of, noise

DIGESTS = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)
PARTS = st.lists(st.tuples(st.integers(1, MAX_BLOCK_BYTES), DIGESTS), max_size=6)
FILES = st.builds(
    lambda key, parts: file_blocks(digest_of(key), [p[0] for p in parts], [p[1] for p in parts]),
    st.binary(max_size=4),
    PARTS,
)


@given(st.lists(FILES, max_size=5))
def test_parse_of_to_bytes(files: list[FileBlocks]) -> None:
    table = BlockTable.build(files)
    data = table.to_bytes()
    found = BlockTable.parse(data)
    assert dict(found.files) == dict(table.files)
    assert found.to_bytes() == data


@given(st.data(), st.lists(FILES, max_size=5, unique_by=lambda file: file.file_digest))
def test_order_does_not_matter(data: st.DataObject, files: list[FileBlocks]) -> None:
    shuffled = data.draw(st.permutations(files))
    assert BlockTable.build(shuffled).to_bytes() == BlockTable.build(files).to_bytes()


@given(st.data(), st.lists(FILES, min_size=1, max_size=3))
def test_what_parses_is_the_one_encoding(data: st.DataObject, files: list[FileBlocks]) -> None:
    """Mutated, truncated and lengthened tables are refused, or are another table's own encoding."""
    raw = bytearray(BlockTable.build(files).to_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(raw)))
    for found in (bytes(raw), bytes(raw[:end]), bytes(raw) + b"\0"):
        try:
            table = BlockTable.parse(found)
        except HoistError as error:
            assert isinstance(error, InvalidManifest)
        else:
            assert table.to_bytes() == found


def test_every_truncation_is_refused() -> None:
    data = BlockTable.build([blocks_of(noise(100), 30), blocks_of(noise(50, 1), 30)]).to_bytes()
    for end in range(len(data)):
        with pytest.raises(InvalidManifest):
            BlockTable.parse(data[:end])
    with pytest.raises(InvalidManifest):
        BlockTable.parse(data + b"\0")


def _one(size: int, lengths: list[int], count: int | None = None) -> bytes:
    packed = struct.pack(f"<32sQI{len(lengths)}I", b"\1" * 32, size, len(lengths) if count is None else count, *lengths)
    return MAGIC + struct.pack("<I", 1) + packed + b"\2" * 32 * len(lengths)


@pytest.mark.parametrize(
    "data",
    [
        _one(5, [4]), _one(4, [4, 0]), _one(MAX_BLOCK_BYTES + 1, [MAX_BLOCK_BYTES + 1]), _one(1 << 63, [4]),
        _one(4, [4], count=1 << 31), _one(0, [], count=0xFFFFFFFF), _one(4, [4])[:-1], b"HOISTBK\x02" + bytes(4), b"",
        MAGIC + struct.pack("<I", 2) + 2 * _one(4, [4])[12:],
    ],
)  # fmt: skip
def test_lying_tables(data: bytes) -> None:
    with pytest.raises(InvalidManifest):
        BlockTable.parse(data)


def test_an_honest_table_of_the_same_shape() -> None:
    (file,) = BlockTable.parse(_one(9, [4, 5])).files.values()
    assert [file.span(index) for index in range(len(file))] == [(0, 4), (4, 9)]


@given(st.lists(st.integers(1, 50), max_size=8), st.integers(0, 400), st.integers(0, 400))
def test_covering(lengths: list[int], begin: int, end: int) -> None:
    file = file_blocks("sha256:" + "0" * 64, lengths, [bytes(32)] * len(lengths))
    begin, end = min(begin, file.size), min(end, file.size)
    spans = [file.span(index) for index in range(len(file))]
    touched = [n for n, (first, last) in enumerate(spans) if first < end and begin < last]
    assert list(file.covering(begin, end)) == (touched if begin < end else [])


def test_of_asks_for_digest_and_size() -> None:
    file = blocks_of(noise(100), 30)
    table = BlockTable.build([file])
    assert table.of(file.file_digest, 100) is file
    for digest, size in ((file.file_digest, 99), ("sha256:" + "0" * 64, 100)):
        with pytest.raises(InvalidManifest):
            table.of(digest, size)


def test_the_digest_is_blake3() -> None:
    assert block_digest(b"abc").hex() == blake3(b"abc").hexdigest()
    assert block_digest(b"abc").hex() == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
