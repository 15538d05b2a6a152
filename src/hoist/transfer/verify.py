"""Reading a version back and checking every block of every file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from hoist.errors import FileNotFound
from hoist.parallel import SMALL_AT_ONCE, SMALL_BYTES, for_each
from hoist.progress import Progress
from hoist.read.engine import Job
from hoist.read.plan import Request, plan_file
from hoist.read.sink import CallbackSink
from hoist.read.source import Source
from hoist.read.version import OpenedVersion


@dataclass(frozen=True, slots=True, order=True)
class DamagedRange:
    """A half-open byte range of a file whose bytes are wrong or missing; `missing`: the whole file is not there."""

    path: str
    begin: int
    end: int
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verify found. `damaged` is empty if every block is right."""

    files: int
    blocks: int
    bytes_read: int
    seconds: float
    damaged: tuple[DamagedRange, ...]


def verify_version(opened: OpenedVersion, progress: Progress) -> Verified:
    """Read every file of the version and check every block. Memory: one request a connection.

    Raises InvalidManifest, and what a storage may; damage is in the result.
    """
    began = time.monotonic()
    progress.begin(f"verifying {opened.version}", opened.manifest.size)
    sources = {path: opened.source(path) for path in opened.files}

    def check(path: str) -> list[DamagedRange]:
        return _check(opened, path, sources[path], progress)

    # A large file keeps every connection busy by itself; small ones go several at a time.
    small = [path for path, entry in opened.files.items() if entry.size <= SMALL_BYTES]
    damaged = for_each(check, small, SMALL_AT_ONCE)
    damaged += [check(path) for path, entry in opened.files.items() if entry.size > SMALL_BYTES]
    progress.end()
    found = _merged([item for items in damaged for item in items])
    missing = sum(opened.entry(item.path).size for item in found if item.missing)
    return Verified(
        files=len(sources),
        blocks=sum(len(source.blocks) for source in sources.values()),
        bytes_read=opened.manifest.size - missing,
        seconds=time.monotonic() - began,
        damaged=found,
    )


def _check(opened: OpenedVersion, path: str, source: Source, progress: Progress) -> list[DamagedRange]:
    damaged: list[DamagedRange] = []
    lock = Lock()
    sink = CallbackSink(_ignore)

    def note(_: Source, begin: int, end: int) -> None:
        with lock:
            damaged.append(DamagedRange(path, begin, end))

    plan = plan_file(source.blocks, source.traits.request_bytes)
    jobs = [Job(source, request, sink) for request in plan.requests]
    try:
        opened.engine.run(jobs, on_bytes=progress.advance, on_damage=note)
    except FileNotFound:
        return [DamagedRange(path, 0, source.size, missing=True)]
    return damaged


def _ignore(request: Request, view: memoryview) -> None:
    """The engine has checked the bytes; nothing else is wanted of them."""


def _merged(damaged: list[DamagedRange]) -> tuple[DamagedRange, ...]:
    found: list[DamagedRange] = []
    for item in sorted(damaged):
        if found and found[-1].path == item.path and found[-1].end == item.begin:
            found[-1] = DamagedRange(item.path, found[-1].begin, item.end, found[-1].missing)
        else:
            found.append(item)
    return tuple(found)
