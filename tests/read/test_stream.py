"""A file in order: the right bytes whatever the window and the range, verified, stopped early, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.errors import DamagedBlock
from hoist.read.stream import SLICE_BYTES, stream_file
from hoist.storage import layout
from hoist.storage.base import Version
from makers import ENGINE_BLOCK, ENGINE_DATA, engine_storage, memory_storage, nobody_is_left, opened, put_version

STORAGE = engine_storage()
SOURCE = opened(STORAGE).source("w.bin")
ENGINE = opened(STORAGE).engine


def streamed(begin: int = 0, end: int | None = None, window: int = 5 * ENGINE_BLOCK) -> bytes:
    return b"".join(bytes(piece) for piece in stream_file(SOURCE, ENGINE, begin, end, window))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, len(ENGINE_DATA)),
    st.integers(0, len(ENGINE_DATA)),
    st.sampled_from([1, ENGINE_BLOCK, 3 * ENGINE_BLOCK + 1, 1 << 30]),
)
def test_any_range_by_any_window(one: int, other: int, window: int) -> None:
    begin, end = sorted((one, other))
    assert streamed(begin, end, window) == ENGINE_DATA[begin:end]


def test_slices_are_a_mebibyte_at_most() -> None:
    storage = memory_storage()
    data = bytes(3 * SLICE_BYTES + 5)
    put_version(storage, {"w.bin": data}, 2 * SLICE_BYTES)
    sizes = [len(piece) for piece in stream_file(opened(storage).source("w.bin"), ENGINE)]
    assert sum(sizes) == len(data)
    assert max(sizes) == SLICE_BYTES


def test_an_empty_file() -> None:
    storage = memory_storage()
    put_version(storage, {"w.bin": b""}, 10)
    assert list(stream_file(opened(storage).source("w.bin"), ENGINE)) == []


def test_damage_is_not_handed_out() -> None:
    storage = engine_storage()
    key = layout.file_key(Version("m/one", "v1"), "w.bin")
    torn = bytearray(ENGINE_DATA)
    torn[30 * ENGINE_BLOCK] ^= 1
    storage.objects.put(key, bytes(torn))
    got = b""
    with pytest.raises(DamagedBlock):
        for piece in stream_file(opened(storage).source("w.bin"), ENGINE, window_bytes=2 * ENGINE_BLOCK):
            got += bytes(piece)
    assert ENGINE_DATA.startswith(got)
    assert len(got) <= 30 * ENGINE_BLOCK


def test_stopping_early_leaves_nobody_behind() -> None:
    pieces = stream_file(SOURCE, ENGINE, window_bytes=ENGINE_BLOCK)
    assert ENGINE_DATA.startswith(bytes(next(pieces)))
    pieces.close()
    assert nobody_is_left()
