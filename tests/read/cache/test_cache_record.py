"""The record's codec: what was written is read, and what is torn, cut, foreign or changed anywhere is not trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.model.blocks import FileBlocks, file_blocks
from hoist.read.cache import record
from hoist.read.cache.host import HostCache
from hoist.read.cache.record import HEADER_BYTES, new_record, parse_header, parse_names, parse_tables
from hoist.read.engine import Engine
from makers import QUICK, engine_storage, opened

BOOT = b"0123456789abcdef"


@st.composite
def some_blocks(draw: st.DrawFn) -> FileBlocks:
    lengths = draw(st.lists(st.integers(1, 64 << 20), max_size=20))
    digests = draw(st.lists(st.binary(min_size=32, max_size=32), min_size=len(lengths), max_size=len(lengths)))
    return file_blocks("sha256:" + draw(st.binary(min_size=32, max_size=32)).hex(), lengths, digests)


@given(some_blocks())
def test_what_is_written_is_read(blocks: FileBlocks) -> None:
    data = new_record(blocks, BOOT)
    header = parse_header(data, len(data))
    assert header
    assert (header.boot, header.file_digest, header.size) == (BOOT, blocks.file_digest, blocks.size)
    assert header.names_at == len(data)
    assert data[HEADER_BYTES : header.tables_at] == bytes(len(blocks))
    assert parse_tables(header, data[header.tables_at :]) == blocks
    assert parse_header(header.booted(b"f" * 16).to_bytes(), len(data)) == header.booted(b"f" * 16)


@given(some_blocks(), st.data())
def test_a_changed_bit_is_found(blocks: FileBlocks, data: st.DataObject) -> None:
    whole = new_record(blocks, BOOT)
    header = parse_header(whole, len(whole))
    assert header
    checked = len(header.to_bytes())
    at = data.draw(
        st.one_of(st.integers(0, checked - 1), st.integers(min(header.tables_at, len(whole) - 1), len(whole) - 1))
    )
    changed = bytearray(whole)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    found = parse_header(bytes(changed), len(whole))
    if at < checked:
        assert found is None
    elif at >= header.tables_at:
        assert found == header
        assert parse_tables(header, bytes(changed[header.tables_at :])) is None


@given(some_blocks(), st.data())
def test_a_torn_record_is_not_trusted(blocks: FileBlocks, data: st.DataObject) -> None:
    whole = new_record(blocks, BOOT)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert parse_header(whole[:cut], cut) is None


@given(st.binary(max_size=300))
def test_noise_is_no_record(data: bytes) -> None:
    assert parse_header(data, 1 << 30) is None
    assert isinstance(parse_names(data), tuple)


def test_names_are_lines_and_a_torn_one_is_left_out() -> None:
    assert parse_names(b"nas//m/one:v1/a\nnas//m/one:v1/a\n\xc3\xa9//x\nhalf") == ("nas//m/one:v1/a", "é//x")


@pytest.mark.parametrize("how", ["torn", "empty", "older", "foreign", "no data", "short data"])
def test_an_entry_that_cannot_be_trusted_is_made_anew(tmp_path: Path, how: str) -> None:
    storage = engine_storage()
    source = opened(storage).source("w.bin")
    cache = HostCache(tmp_path / "cache", 1 << 30)
    with cache.file(source.blocks) as cached:
        cached.fill(source, Engine(QUICK), [(0, source.size)])
        name, before = cached.name, cache.record_path(cached.name).read_bytes()
    changed = {
        "torn": before[:5000],
        "empty": b"",
        "older": record.MAGIC[:-1] + b"\0" + before[8:],
        "foreign": new_record(file_blocks("sha256:" + "7" * 64, [source.size], [b"d" * 32]), BOOT),
    }
    if how in changed:
        cache.record_path(name).write_bytes(changed[how])
    elif how == "no data":
        cache.data_path(name).unlink()
    else:
        cache.data_path(name).write_bytes(b"short")
    with HostCache(tmp_path / "cache").file(source.blocks) as cached:
        assert cached.missing(0, len(source.blocks)) == list(range(len(source.blocks)))
        assert cached.fill(source, Engine(QUICK), [(0, source.size)]).fetched_bytes == source.size
