"""Mounts of one bucket compared: Hoist's and others', beside the raw limit, the native file system, and the least daemon.

Each turn is a fresh mount with nothing kept, read by processes of their own, each when the daemon is at rest; the mounts
take turns, in an order that rotates from run to run. The server has what it serves in the page cache; how much it sent is
its own count.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hoist.bench.child import run_child
from hoist.bench.load import read_through
from hoist.bench.measuring import ready_memory
from hoist.bench.memory_mount import FILE
from hoist.bench.mounters import LEAST, OWN, PEERS
from hoist.bench.mounting import Mounted, Mounter, Place
from hoist.bench.reading import LOAD, MAP, READ, TREE
from hoist.bench.records import Recorder
from hoist.bench.stage import BUCKET, PUBLIC, Stage
from hoist.bench.subjects import find_subject
from hoist.bench.works import check_works
from hoist.errors import HoistError, LocalError, UsageError
from hoist.pagecache import cached_fraction
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.testing.servers import NginxBucket

Record = dict[str, Any]
FIRST, SECOND, SECOND_MAP = "first read", "second read", "second mmap"
COLD_LOAD, COLD_MAP, SMALL, HERD = "load_file", "cold mmap", "small files", "8 at once"
# What is done with a fresh mount, by the name that a user gives to all of it.
WORKS: Mapping[str, tuple[str, ...]] = {
    "read": (FIRST, SECOND, SECOND_MAP),
    "load": (COLD_LOAD,),
    "mmap": (COLD_MAP,),
    "small": (SMALL,),
    "herd": (HERD,),
}
_HOW = {
    FIRST: READ,
    SECOND: READ,
    SECOND_MAP: MAP,
    COLD_LOAD: LOAD,
    COLD_MAP: MAP,
    SMALL: TREE,
    HERD: READ,
}
LIMIT, NATIVE = "raw GETs", "native"
_HERD = 8
# What a mount keeps on disk, what the kernel caches of the mount, and what a reader makes of it.
_READY = 3
# Beyond the patience a child has so long to import, to end, and for a read that hangs.
_GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """Which works, the mounts beside Hoist's, how often, and after how many seconds a work is given up as too slow."""

    works: Sequence[str] = tuple(WORKS)
    peers: Sequence[Mounter] = PEERS
    repeat: int = 3
    patience: float = 20.0


@dataclass(frozen=True, slots=True)
class Material:
    """What is in the bucket: a version of one weight file of `size` bytes, and one of many small files."""

    model: Version
    file: str
    size: int
    small: Version | None = None


def choose_mounters(names: Sequence[str]) -> list[Mounter]:
    """The peers of those names, or all for `all`. Raises UsageError with the names that there are."""
    known = {peer.name: peer for peer in PEERS}
    unknown = [name for name in names if name not in known and name != "all"]
    if unknown:
        raise UsageError(f"there is no mount {unknown[0]!r} to compare with; there are {', '.join(known)}, and all")
    return [peer for name, peer in known.items() if "all" in names or name in names]


def run_mounts(
    stage: Stage, material: Material, options: Options, on_record: Callable[[Record], None] = lambda record: None
) -> list[Record]:
    """Measure; each record is also told to `on_record` as soon as it is there. A mount that fails has one that says so.

    `stage` has a public bucket. Raises UsageError for a work that there is not, LocalError where nothing can be mounted.
    """
    check_works(options.works, WORKS)
    recorder = Recorder(on_record)
    note = partial(recorder.note, "mount")

    _Comparison(stage, material, options, note).run()
    return recorder.records


class _Comparison:
    def __init__(
        self, stage: Stage, material: Material, options: Options, note: Callable[[Mapping[str, Any]], None]
    ) -> None:
        assert stage.web is not None, "the stage has a public bucket"
        self._web: NginxBucket = stage.web
        self._stage, self._material, self._options, self._note = stage, material, options, note
        self._home = stage.home / "mounts"
        self._served = stage.home / "www" / BUCKET / layout.file_key(material.model, material.file)

    def run(self) -> None:
        mounters = []
        for mounter in [*OWN, *self._options.peers]:
            reason = mounter.unavailable()
            if reason is None:
                mounters.append(mounter)
            elif mounter in OWN:
                raise LocalError(f"nothing can be mounted here: {reason}")
            else:
                self._note({"mount": mounter.name, "about": mounter.about, "skipped": reason})
        for run in range(self._options.repeat):
            for work in self._options.works:
                turns = self._turns(work, mounters)
                first = run % len(turns)
                for turn in [*turns[first:], *turns[:first]]:
                    for values in turn():
                        self._note({"run": run, **values})

    def _turns(self, work: str, mounters: Sequence[Mounter]) -> list[Callable[[], Iterator[Record]]]:
        turns: list[Callable[[], Iterator[Record]]] = [partial(self._mount, mounter, work) for mounter in mounters]
        if work == "read":
            turns += [self._limit, self._native, partial(self._mount, LEAST, work)]
        return turns

    def _mount(self, mounter: Mounter, work: str) -> Iterator[Record]:
        """A fresh mount, and each step of the work with it."""
        names = {"mount": mounter.name, "about": mounter.about}
        self._warm()
        try:
            with self._mounted(mounter) as mounted:
                for step in WORKS[work] if mounter is not LEAST else (FIRST,):
                    mounted.settle()
                    yield {**names, "work": step, **self._measure(mounted, step)}
        except HoistError as error:
            if mounter in OWN:
                raise
            yield {**names, "works": list(WORKS[work]), "skipped": f"failed: {error}"}

    @contextmanager
    def _mounted(self, mounter: Mounter) -> Iterator[Mounted]:
        """The mount; nothing is kept of an earlier one, and nothing of this one afterwards."""
        size = self._material.size
        place = Place(PUBLIC, self._stage.config, self._home / "point", self._home / "scratch", size)
        shutil.rmtree(place.scratch, ignore_errors=True)
        try:
            with Mounted(mounter, place) as mounted:
                yield mounted
        finally:
            shutil.rmtree(place.scratch, ignore_errors=True)

    def _measure(self, mounted: Mounted, step: str) -> Record:
        kept = sum(path.stat().st_blocks << 9 for path in mounted.place.scratch.rglob("*") if path.is_file())
        before, (requests, sent) = mounted.usage(), self._web.traffic()
        path, size, files = self._target(mounted, step)
        figures = self._herd(mounted, path, size) if step == HERD else self._read(path, _HOW[step], size)
        used, (requests_now, sent_now) = mounted.usage(), self._web.traffic()
        return {
            "size": size,
            "files": files,
            "kept_before": kept if step not in (SECOND, SECOND_MAP) else None,
            "storage_bytes": sent_now - sent,
            "storage_requests": requests_now - requests,
            "daemon_cpu_seconds": used.cpu_seconds - before.cpu_seconds,
            "daemon_peak_bytes": used.peak_bytes,
            **figures,
        }

    def _target(self, mounted: Mounted, step: str) -> tuple[Path, int, int]:
        """What is read, its size, and of how many files it is."""
        material, place = self._material, mounted.place
        if mounted.mounter is LEAST:
            return place.point / FILE, material.size, 1
        if step != SMALL:
            return place.point / layout.file_key(material.model, material.file), material.size, 1
        assert material.small is not None, "small files were asked for"
        found = [path for path in self._small_folder(material.small).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in found)
        return place.point / material.small.name / material.small.label, size, len(found)

    def _small_folder(self, version: Version) -> Path:
        return self._stage.home / "www" / BUCKET / version.name / version.label

    def _read(self, path: Path, how: str, size: int) -> Record:
        patience = self._options.patience
        task = {"do": "reading", "how": how, "path": str(path), "patience": patience, "size": size}
        found = run_child({**task, "within": patience + _GRACE_SECONDS}, self._stage.config.environ)
        found.pop("began")
        return found

    def _herd(self, mounted: Mounted, path: Path, size: int) -> Record:
        """Several processes at once, from when the first begins until the last is done."""
        patience = self._options.patience
        task = {"do": "reading", "how": _HOW[HERD], "path": str(path), "patience": patience, "size": size}
        task["within"] = patience + 2 * _GRACE_SECONDS
        with ThreadPoolExecutor(_HERD, "hoist-bench") as pool:
            try:
                found = list(pool.map(lambda _: run_child(task, self._stage.config.environ), range(_HERD)))
            except BaseException:
                # Without it the readers end, and then the pool.
                mounted.abandon()
                raise
        return {
            "seconds": max(each["began"] + each["seconds"] for each in found) - min(each["began"] for each in found),
            "bytes": sum(each["bytes"] for each in found),
            "files_read": 1,
            "whole": all(each["whole"] for each in found),
            "reader_cpu_seconds": sum(each["reader_cpu_seconds"] for each in found),
            "readers": _HERD,
        }

    def _limit(self) -> Iterator[Record]:
        self._warm()
        material = self._material
        subject = find_subject(f"{PUBLIC}//{material.model}", self._stage.config, self._home / "copies")
        task = {"do": "limit", "subject": subject.to_json(), "limit": "get"}
        found = run_child(task, self._stage.config.environ)
        seconds = material.size / found["bytes_per_second"]
        about = f"ranged GETs by recv_into, {found['depth']} at once"
        figures = {"seconds": seconds, "bytes": material.size, "size": material.size, "whole": True}
        yield {"mount": LIMIT, "about": about, "work": FIRST, "rates": found["rates"], **figures}

    def _native(self) -> Iterator[Record]:
        """The same file, whole in the page cache of the file system that it lies on."""
        for step in (SECOND, SECOND_MAP):
            self._warm()
            figures = self._read(self._served, _HOW[step], self._material.size)
            about = "the file itself, in the page cache"
            cached = {"size": self._material.size, "cached_before": cached_fraction(self._served)}
            yield {"mount": NATIVE, "about": about, "work": step, **cached, **figures}

    def _warm(self) -> None:
        """What the server serves is in its page cache, whoever is measured, and there is memory for the rest.

        A mount's cache goes with it, and its memory back to the machine's host: the next one should not pay for that.
        """
        ready_memory(_READY * self._material.size)
        read_through(self._served)
        if self._material.small:
            for path in self._small_folder(self._material.small).rglob("*"):
                if path.is_file():
                    path.read_bytes()
