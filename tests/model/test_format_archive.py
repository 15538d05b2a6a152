"""The zip directory of a checkpoint: ranges are the data's, and other archives are refused."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.errors import HoistError, InvalidFile
from hoist.model.formats import archive
from hoist.model.formats.archive import data_range, read_archive


def saved() -> bytes:
    out = io.BytesIO()
    torch.save({"a": torch.arange(100.0), "b": torch.ones(3, 4, dtype=torch.int64)}, out)
    return out.getvalue()


SAVED = saved()


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in entries:
            made.writestr(name, data)
    return out.getvalue()


def ranges(data: bytes) -> dict[str, tuple[int, int]]:
    found = read_archive(io.BytesIO(data), len(data))
    return {name: data_range(entry, lambda a, b: data[a:b], len(data)) for name, entry in found.entries.items()}


def test_the_ranges_hold_what_the_library_reads() -> None:
    with zipfile.ZipFile(io.BytesIO(SAVED)) as library:
        expected = {name.partition("/")[2]: library.read(name) for name in library.namelist()}
    assert {name: SAVED[begin:end] for name, (begin, end) in ranges(SAVED).items()} == expected
    assert {"data.pkl", "data/0", "data/1"} <= set(expected)


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_other_writers_archives(contents: list[bytes]) -> None:
    entries = {f"data/{number}": content for number, content in enumerate(contents)} | {"data.pkl": b"p"}
    data = zipped(*((f"top/{name}", content) for name, content in entries.items()))
    assert {name: data[begin:end] for name, (begin, end) in ranges(data).items()} == entries


@settings(max_examples=300)
@given(st.data())
def test_mutated_archives_are_refused_by_type(data: st.DataObject) -> None:
    raw = bytearray(SAVED)
    directory = raw.rfind(b"PK\x05\x06")
    first = raw.find(b"PK\x01\x02")
    places = st.one_of(
        st.integers(first, len(raw) - 1), st.integers(directory, len(raw) - 1), st.integers(0, len(raw) - 1)
    )
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(places)] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(raw)))
    for found in (bytes(raw), bytes(raw[:end])):
        try:
            spans = ranges(found)
        except HoistError as error:
            assert isinstance(error, InvalidFile)
        else:
            assert all(0 <= begin <= last <= len(found) for begin, last in spans.values())


def test_every_truncation_is_refused() -> None:
    for end in [*range(0, len(SAVED), 97), *range(len(SAVED) - 30, len(SAVED))]:
        with pytest.raises(InvalidFile):
            read_archive(io.BytesIO(SAVED[:end]), end)


def _encrypted() -> bytes:
    data = bytearray(zipped(("a/data.pkl", b"p")))
    data[data.find(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _outside() -> bytes:
    data = bytearray(zipped(("a/data.pkl", b"p")))
    at = data.find(b"PK\x01\x02") + 20
    data[at : at + 8] = struct.pack("<II", 1 << 30, 1 << 30)
    return bytes(data)


def _duplicate() -> bytes:
    data = zipped(("a/data.pkl", b"p"), ("a/data.pkx", b"q"))
    return data.replace(b"data.pkx", b"data.pkl")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: zipped(("a/data.pkl", b"p" * 500), method=zipfile.ZIP_DEFLATED), "is compressed"),
        (lambda: zipped(("a/data.pkl", b"p" * 500), method=zipfile.ZIP_LZMA), "is compressed"),
        (lambda: zipped(("a/model.json", b"{}")), "has no data.pkl"),
        (zipped, "has no data.pkl"),
        (_encrypted, "is encrypted"),
        (_outside, "lies outside the file"),
        (_duplicate, "stands twice"),
        (lambda: b"", "malformed"),
        (lambda: b"PK\x03\x04" + bytes(200), "malformed"),
    ],
)
def test_archives_that_torch_did_not_write(data: Callable[[], bytes], message: str) -> None:
    made = data()
    with pytest.raises(InvalidFile, match=message):
        read_archive(io.BytesIO(made), len(made))


def test_a_directory_that_points_elsewhere() -> None:
    data = bytearray(zipped(("a/data.pkl", b"p" * 100)))
    at = data.find(b"PK\x01\x02") + 42
    data[at : at + 4] = struct.pack("<I", 5)
    with pytest.raises(InvalidFile, match="not where the directory says"):
        ranges(bytes(data))


def test_a_local_header_that_points_behind_the_file() -> None:
    data = bytearray(zipped(("a/data.pkl", b"p" * 100)))
    data[28:30] = struct.pack("<H", 60_000)
    with pytest.raises(InvalidFile, match="ends behind the file"):
        ranges(bytes(data))


def test_a_pickle_too_large_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_PICKLE_BYTES", 10)
    with pytest.raises(InvalidFile, match=r"data\.pkl has over"):
        ranges(zipped(("a/data.pkl", b"p" * 11)))


def test_an_entry_that_is_not_there() -> None:
    with pytest.raises(InvalidFile, match="no entry 'data/9'"):
        read_archive(io.BytesIO(SAVED), len(SAVED)).entry("data/9")
