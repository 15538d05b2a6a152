"""Reading a version back and checking every block of every file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from hoist.errors import FileNotFound
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
    damaged: list[DamagedRange] = []
    lock = Lock()
    sink = CallbackSink(_ignore)
    blocks = read = 0
    for path, entry in opened.files.items():
        source = opened.source(path)
        blocks += len(source.blocks)

        def note(source: Source, begin: int, end: int, path: str = path) -> None:
            with lock:
                damaged.append(DamagedRange(path, begin, end))

        plan = plan_file(source.blocks, source.traits.request_bytes)
        jobs = [Job(source, request, sink) for request in plan.requests]
        try:
            opened.engine.run(jobs, on_bytes=progress.advance, on_damage=note)
            read += plan.bytes_read
        except FileNotFound:
            damaged.append(DamagedRange(path, 0, entry.size, missing=True))
    progress.end()
    return Verified(len(opened.files), blocks, read, time.monotonic() - began, _merged(damaged))


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
