"""The raw limits: every byte is really read, and readers share the steps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import pytest

from hoist.bench.limits import OpenReader, Reader, cached_reader, direct_reader, limit_of, url_reader
from hoist.errors import StorageUnavailable
from hoist.testing.servers import NginxServer

SIZE = (17 << 20) + 123


@pytest.fixture
def data() -> bytes:
    return os.urandom(SIZE)


def check(open_reader: OpenReader, data: bytes) -> None:
    """Read the whole through the limit's own steps and compare."""
    seen = bytearray(len(data))
    lock = Lock()

    @contextmanager
    def opened() -> Iterator[Reader]:
        with open_reader() as inner:

            def read(offset: int, buffer: memoryview) -> None:
                inner(offset, buffer)
                with lock:
                    seen[offset : offset + len(buffer)] = buffer

            yield read

    rate, depth = limit_of(len(data), opened, (1, 3))
    assert rate > 0 and depth in (1, 3)
    assert seen == data


def test_direct_and_cached_reads_bring_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    check(cached_reader(path), data)
    check(direct_reader(path), data)


def test_ranged_gets_bring_the_object(nginx_server: NginxServer, data: bytes) -> None:
    folder = nginx_server.data_folder / "limits"
    folder.mkdir(exist_ok=True)
    (folder / "object").write_bytes(data)
    check(url_reader(f"{nginx_server.endpoint}/limits/object"), data)


def test_a_refusing_server_is_told(nginx_server: NginxServer) -> None:
    with pytest.raises(StorageUnavailable, match="404"):
        limit_of(1 << 20, url_reader(f"{nginx_server.endpoint}/limits/none"), (1,))
