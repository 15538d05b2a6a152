"""Reading a version back and checking every block of every file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock

from hoist.errors import Damaged, FileNotFound
from hoist.model.packs import PackIndex
from hoist.parallel import SMALL_AT_ONCE, SMALL_BYTES, for_each
from hoist.progress import Progress
from hoist.read.engine import Job
from hoist.read.pack_index import read_index
from hoist.read.packs import USELESS, PackedFiles
from hoist.read.plan import plan_file
from hoist.read.signed import signed_by
from hoist.read.sink import verifying_sink
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
    """What a verify found. `damaged` is empty if every block is right.

    `damaged_packs` names packs that are wrong or missing, or the index: the version is whole without them, and slower.
    """

    files: int
    blocks: int
    bytes_read: int
    seconds: float
    damaged: tuple[DamagedRange, ...]
    packs: int = 0
    damaged_packs: tuple[str, ...] = ()
    signed_by: str = ""


def verify_version(opened: OpenedVersion, progress: Progress, signers: Sequence[Sequence[str]] = ()) -> Verified:
    """Read every file of the version and its packs, and check every block. Memory: one request a connection.

    Of each group of `signers` (paths of public keys, or IDENTITY@ISSUER) one has to have signed it. Raises Unsigned,
    InvalidManifest, and what a storage may; damage is in the result.
    """
    began = time.monotonic()
    # Before gigabytes are read; and what they are checked by is what was signed.
    by = [signed_by(opened.storage, opened.version, opened.manifest, names) for names in signers]
    packed, damaged_packs = _packs(opened)
    size = opened.manifest.size + sum(pack.size for pack in packed.index.packs)
    progress.begin(f"verifying {opened.version}", size)
    sources = {path: opened.source(path) for path in opened.files}

    def check(path: str) -> list[DamagedRange]:
        return _check(opened, path, sources[path], progress)

    # A large file keeps every connection busy by itself; small ones go several at a time.
    small = [path for path, entry in opened.files.items() if entry.size <= SMALL_BYTES]
    damaged = for_each(check, small, SMALL_AT_ONCE)
    damaged += [check(path) for path, entry in opened.files.items() if entry.size > SMALL_BYTES]
    for number, pack in enumerate(packed.index.packs):
        if _check(opened, pack.digest, _strict(packed.pack_source(number)), progress, whole=True):
            damaged_packs.append(pack.digest)
    progress.end()
    found = _merged([item for items in damaged for item in items])
    missing = sum(opened.entry(item.path).size for item in found if item.missing)
    return Verified(
        files=len(sources),
        blocks=sum(len(source.blocks) for source in sources.values()),
        bytes_read=size - missing,
        seconds=time.monotonic() - began,
        damaged=found,
        packs=len(packed.index.packs),
        damaged_packs=tuple(damaged_packs),
        signed_by=", ".join(dict.fromkeys(by)),
    )


def _packs(opened: OpenedVersion) -> tuple[PackedFiles, list[str]]:
    """The packs of a version, and the names of what keeps them from being read."""
    try:
        return PackedFiles(opened, read_index(opened)), []
    except USELESS as error:
        damaged = ["index"] if isinstance(error, Damaged) else []
        return PackedFiles(opened, PackIndex(opened.manifest.digest, ())), damaged


def _strict(source: Source) -> Source:
    """A pack that is too short is as good as missing: it is not looked for block by block."""

    def read_into(offset: int, buffer: memoryview) -> None:
        try:
            source.read_into(offset, buffer)
        except USELESS as error:
            raise FileNotFound(str(error)) from None

    return replace(source, read_into=read_into)


def _check(
    opened: OpenedVersion, path: str, source: Source, progress: Progress, *, whole: bool = False
) -> list[DamagedRange]:
    damaged: list[DamagedRange] = []
    lock = Lock()
    sink = verifying_sink()

    def note(_: Source, begin: int, end: int) -> None:
        with lock:
            damaged.append(DamagedRange(path, begin, end))

    plan = plan_file(source.blocks, source.traits.request_bytes)
    jobs = [Job(source, request, sink, whole) for request in plan.requests]
    try:
        opened.engine.run(jobs, on_bytes=progress.advance, on_damage=note)
    except FileNotFound:
        return [DamagedRange(path, 0, source.size, missing=True)]
    return damaged


def _merged(damaged: list[DamagedRange]) -> tuple[DamagedRange, ...]:
    found: list[DamagedRange] = []
    for item in sorted(damaged):
        if found and found[-1].path == item.path and found[-1].end == item.begin:
            found[-1] = DamagedRange(item.path, found[-1].begin, item.end, found[-1].missing)
        else:
            found.append(item)
    return tuple(found)
