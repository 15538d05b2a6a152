"""Reading a little of a version to see how quickly it comes: what a load would get now, where nothing else tells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

from hoist.model.manifest import Manifest
from hoist.read.engine import Engine, Job
from hoist.read.plan import plan_file
from hoist.read.sink import verifying_sink
from hoist.read.version import OpenedVersion
from hoist.status.meters import Reading
from hoist.storage.base import Storage, Version

MOST_BYTES = 64 << 20


def probe(storage: Storage, version: Version, engine: Engine, stop: Event | None = None) -> Reading | None:
    """Read at most 64 MiB of a version as a load does, in parallel and verified; None if it has no bytes.

    The host cache is left alone; a page cache may have part of it. Setting `stop` ends it early.
    Raises InvalidManifest, DamagedBlock, Cancelled, and what a storage may.
    """
    opened = OpenedVersion(storage, version, Manifest.parse(storage.read_manifest(version)), engine)
    jobs = list(_jobs(opened))
    size = sum(job.request.size for job in jobs)
    if not size:
        return None
    began = time.monotonic()
    engine.run(jobs, stop=stop)
    seconds = max(time.monotonic() - began, 1e-9)
    return Reading("probe", str(version), size / seconds, seconds, size)


def _jobs(opened: OpenedVersion) -> Iterator[Job]:
    """Requests of the largest files, as many as make up so much."""
    sink = verifying_sink()
    left = MOST_BYTES
    for path in sorted(opened.files, key=lambda path: -opened.files[path].size):
        source = opened.source(path)
        for request in plan_file(source.blocks, source.traits.request_bytes).requests:
            if request.size > left:
                return
            left -= request.size
            yield Job(source, request, sink)
