"""Reading: every range, exactly; the caller's buffer, and nothing but it."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hoist.errors import Damaged
from hoist.storage.base import Storage, StoredFile
from hoist.testing.conformance.base import Conformance, Content, publish, read_file, sample, small

SIZE = 300_007
DATA = sample("read", SIZE)
CONTENT = Content({"weights.bin": DATA, "one": b"1"})
GUARD = 0xA5
_THREADS = 8


def _publish(storage: Storage, folder: Path) -> StoredFile:
    return StoredFile(publish(storage, "sd15/any:v1", CONTENT, folder), CONTENT.entries["weights.bin"])


class ReadingConformance(Conformance):
    """`read_into`, `read_blob`."""

    def test_every_kind_of_range(self, storage: Storage, tmp_path: Path) -> None:
        file = _publish(storage, tmp_path)
        for offset in (0, 1, 4095, 4096, 65536, SIZE // 2, SIZE - 4097, SIZE - 1):
            for length in (1, 2, 511, 4096, 65537, SIZE - offset):
                if offset + length <= SIZE:
                    data = bytearray(length)
                    storage.read_into(file, offset, memoryview(data))
                    assert data == DATA[offset : offset + length], (offset, length)
        assert read_file(storage, file.version, CONTENT.entries["one"]) == b"1"

    def test_past_the_end(self, storage: Storage, tmp_path: Path) -> None:
        file = _publish(storage, tmp_path)
        for offset, length in ((0, SIZE + 1), (SIZE - 1, 2), (SIZE, 1), (SIZE + 10, 1), (2 * SIZE, SIZE)):
            with pytest.raises(Damaged):
                storage.read_into(file, offset, memoryview(bytearray(length)))
        assert read_file(storage, file.version, file.entry) == DATA

    def test_a_label_with_another_content_than_before(self, storage: Storage, tmp_path: Path) -> None:
        """Asked afresh, nothing that was under the label before comes any more."""
        for seed in ("before", "after"):
            content = small(seed)
            version = publish(storage, "sd15/any:v1", content, tmp_path)
            for entry in content.manifest.files:
                assert read_file(storage, version, entry) == content.files[entry.path]
            storage.remove(version)

    def test_fills_the_slice_and_nothing_else(self, storage: Storage, tmp_path: Path) -> None:
        file = _publish(storage, tmp_path)
        whole = bytearray([GUARD]) * 10_000
        view = memoryview(whole)
        for at, offset, length in ((1, 0, 1), (7, 13, 4097), (4999, 65536, 5000), (9999, SIZE - 1, 1), (0, 5, 10_000)):
            whole[:] = bytes([GUARD]) * len(whole)
            storage.read_into(file, offset, view[at : at + length])
            assert whole[at : at + length] == DATA[offset : offset + length]
            assert set(whole[:at] + whole[at + length :]) <= {GUARD}

    def test_failed_read_touches_nothing_else(self, storage: Storage, tmp_path: Path) -> None:
        file = _publish(storage, tmp_path)
        whole = bytearray([GUARD]) * 10_000
        with pytest.raises(Damaged):
            storage.read_into(file, SIZE - 100, memoryview(whole)[3000:4000])
        assert set(whole[:3000] + whole[4000:]) == {GUARD}

    def test_keeps_no_reference(self, storage: Storage, tmp_path: Path) -> None:
        file = _publish(storage, tmp_path)
        data = bytearray(5000)
        view = memoryview(data)
        part = view[10:4000]
        storage.read_into(file, 3, part)
        part.release()
        with pytest.raises(Damaged):
            storage.read_into(file, SIZE, view)
        gc.collect()
        view.release()
        # A bytearray with a living export cannot be resized.
        data.extend(b"more")
        assert data[10:4000] == DATA[3:3993]

    def test_many_threads_read_at_once(self, storage: Storage, tmp_path: Path) -> None:
        file = _publish(storage, tmp_path)
        step = 20_011
        target = bytearray(SIZE)
        view = memoryview(target)

        def read(offset: int) -> None:
            storage.read_into(file, offset, view[offset : min(offset + step, SIZE)])

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(read, range(0, SIZE, step)))
            assert target == DATA
            copies = list(pool.map(lambda _: read_file(storage, file.version, file.entry), range(_THREADS)))
        assert copies == [DATA] * _THREADS

    def test_a_large_file(self, storage: Storage, tmp_path: Path) -> None:
        content = Content({"large.bin": sample("large", (20 << 20) + 3)})
        version = publish(storage, "sd15/any:v1", content, tmp_path)
        assert read_file(storage, version, content.entries["large.bin"]) == content.files["large.bin"]
        tail = bytearray(5)
        storage.read_into(StoredFile(version, content.entries["large.bin"]), (20 << 20) - 2, memoryview(tail))
        assert tail == content.files["large.bin"][-5:]
