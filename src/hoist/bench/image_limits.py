"""What a registry can take and give at most: uploads and downloads by the least client, nothing hashed but by the server.

A blob goes up as POST, one PATCH with all of it out of the page cache, and PUT; it comes down in ranges, each written to
its place in a file. Hoist can be no faster; how near it comes is the figure that counts.
"""

from __future__ import annotations

import http.client
import mmap
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from hoist.bench.image_files import Blob
from hoist.bench.limits import ALL_DEPTHS, best_rate, rates_of, url_reader
from hoist.errors import StorageUnavailable

_SLICE_BYTES = 1 << 20
_RANGE_BYTES = 16 << 20
_TIMEOUT_SECONDS = 120
Item = TypeVar("Item")


def push_raw(host: str, repository: str, blobs: Sequence[Blob], depth: int) -> float:
    """Upload blobs to a repository, `depth` at once over plain HTTP; the seconds it took. Raises StorageUnavailable."""
    return _timed(blobs, lambda blob: _upload(host, repository, blob), depth)


def pull_raw(urls: Sequence[tuple[str, int]], folder: Path, depth: int) -> float:
    """Download blobs, given as URL and size, to files in `folder`, `depth` ranges at once; the seconds it took."""
    folder.mkdir(parents=True)
    files = [os.open(folder / str(number), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC) for number in range(len(urls))]
    spans = [
        (number, offset, min(offset + _RANGE_BYTES, size))
        for number, (_, size) in enumerate(urls)
        for offset in range(0, size, _RANGE_BYTES)
    ]

    def fetch(share: Sequence[tuple[int, int, int]]) -> None:
        """One connection's ranges, each to where it belongs."""
        memory = memoryview(bytearray(_RANGE_BYTES))
        for number in dict.fromkeys(number for number, _, _ in share):
            with url_reader(urls[number][0])() as read:
                for _, begin, end in (span for span in share if span[0] == number):
                    buffer = memory[: end - begin]
                    read(begin, buffer)
                    os.pwrite(files[number], buffer, begin)

    try:
        return _timed([spans[start::depth] for start in range(depth)], fetch, depth)
    finally:
        for file in files:
            os.close(file)


def _timed(items: Iterable[Item], work: Callable[[Item], None], depth: int) -> float:
    with ThreadPoolExecutor(depth, "hoist-limit") as pool:
        began = time.perf_counter()
        for done in [pool.submit(work, item) for item in items]:
            done.result()
        return time.perf_counter() - began


def _upload(host: str, repository: str, blob: Blob) -> None:
    with closing(http.client.HTTPConnection(host, timeout=_TIMEOUT_SECONDS)) as connection:
        place = _ask(connection, "POST", f"/v2/{repository}/blobs/uploads/", b"", 202)
        with blob.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            place = _ask(connection, "PATCH", place, memory, 202)
        _ask(connection, "PUT", f"{place}{'&' if '?' in place else '?'}digest={blob.digest}", b"", 201)


def _ask(connection: http.client.HTTPConnection, method: str, target: str, body: bytes | mmap.mmap, want: int) -> str:
    """One request, its body in slices; the Location that answers it."""
    connection.putrequest(method, target)
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    with memoryview(body) as view:
        for offset in range(0, len(view), _SLICE_BYTES):
            connection.send(view[offset : offset + _SLICE_BYTES])
    answer = connection.getresponse()
    answer.read()
    if answer.status != want:
        raise StorageUnavailable(f"the registry answered {answer.status} to {method} while its limit was measured")
    return answer.headers.get("Location", "")


def run_limit(task: Mapping[str, Any]) -> dict[str, Any]:
    """The task `image-limit` of a child: `push` of blobs, `pull` of URLs to files, or `get` of one URL into memory."""
    if task["work"] == "push":
        blobs = [Blob(Path(path), digest, size) for path, digest, size in task["blobs"]]
        return {"seconds": push_raw(task["host"], task["repository"], blobs, task["depth"])}
    if task["work"] == "get":
        return best_rate(rates_of(task["size"], url_reader(task["url"]), ALL_DEPTHS["get"]))
    return {"seconds": pull_raw([(url, size) for url, size in task["urls"]], Path(task["folder"]), task["depth"])}
