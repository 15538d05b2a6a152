"""VerifiedFile against io.BytesIO under random use."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.errors import DamagedBlock
from hoist.read.file import RangeReader, VerifiedFile
from hoist.read.version import OpenedVersion
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.storage.wrap import Counting
from makers import memory_storage, noise, opened, put_version

BLOCK = 512
DATA = noise(20 * BLOCK + 33)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 9 * BLOCK)),
        st.tuples(st.just("seek"), st.tuples(st.integers(-2 * BLOCK, len(DATA) + 100), st.sampled_from([0, 1, 2]))),
        st.tuples(st.just("readline"), st.integers(-1, 100)),
        st.tuples(st.just("tell"), st.none()),
    ),
    max_size=12,
)


def version_of(data: bytes) -> OpenedVersion:
    storage = memory_storage()
    put_version(storage, {"f": data}, BLOCK)
    return opened(storage)


VERSION = version_of(DATA)


def _do(file: Any, step: tuple[str, Any]) -> Any:
    name, argument = step
    if name == "tell":
        return file.tell()
    try:
        return file.seek(*argument) if name == "seek" else getattr(file, name)(argument)
    except ValueError:
        return "refused"


@settings(max_examples=60, deadline=None)
@given(STEPS, st.booleans())
def test_the_same_as_a_file_in_memory(steps: list[tuple[str, Any]], buffered: bool) -> None:
    real = io.BytesIO(DATA)
    raw = VerifiedFile(VERSION.reader("f"))
    ours = io.BufferedReader(raw, 300) if buffered else raw
    for step in steps:
        if step[0] == "seek" and step[1][1] and step[1][0] < 0:
            # BytesIO clamps a negative relative seek to 0 where a real file refuses.
            at = (real.tell() if step[1][1] == 1 else len(DATA)) + step[1][0]
            if at < 0:
                assert _do(ours, step) == "refused"
                continue
        assert _do(ours, step) == _do(real, step)


def test_it_is_a_read_only_seekable_file() -> None:
    with VERSION.open("f") as file:
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert file.read() == DATA
        assert file.read() == b""


@given(st.integers(0, len(DATA) + 50), st.integers(0, len(DATA) + 50))
@settings(max_examples=40, deadline=None)
def test_any_range(begin: int, end: int) -> None:
    assert VERSION.reader("f").read(begin, end) == DATA[begin:end]


def test_small_reads_next_to_each_other_fetch_a_block_once() -> None:
    storage = memory_storage()
    put_version(storage, {"f": DATA}, BLOCK)
    counting = Counting(storage)
    reader = RangeReader(opened(counting).source("f"), VERSION.engine)
    for at in range(0, 2 * BLOCK, 8):
        assert reader.read(at, at + 8) == DATA[at : at + 8]
    touched = reader.source.blocks.covering(0, 2 * BLOCK)
    assert counting.calls["read_into"] == len(touched)
    assert counting.bytes["read_into"] == reader.source.blocks.starts[touched.stop]


def test_kept_blocks_are_few() -> None:
    storage = memory_storage()
    put_version(storage, {"f": DATA}, BLOCK)
    reader = opened(storage).reader("f")
    for at in range(0, len(DATA), 100):
        reader.read(at, at + 8)
    assert len(reader._kept) <= 4


@pytest.mark.parametrize("size", [10, 8 * BLOCK])
def test_damaged_bytes_are_not_handed_out(size: int) -> None:
    storage = memory_storage()
    put_version(storage, {"f": DATA}, BLOCK)
    spoiled = bytearray(DATA)
    spoiled[600] ^= 1
    storage.objects.put(layout.file_key(Version("m/one", "v1"), "f"), bytes(spoiled))
    reader = opened(storage).reader("f")
    assert reader.read(0, 100) == DATA[:100]
    with pytest.raises(DamagedBlock):
        reader.read(BLOCK, BLOCK + size)


def test_an_empty_file() -> None:
    empty = version_of(b"")
    assert empty.read("f") == b""
    with empty.open("f") as file:
        assert file.read(5) == b""
