"""A folder of an NFS server: does the server answer, what may this user do, how fast is it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

from hoist.checkup.report import Finding, Group
from hoist.errors import HoistError, LocalError, PermissionDenied
from hoist.storage import layout
from hoist.storage.nfs.libnfs import load
from hoist.storage.nfs.objects import NfsObjects

_LITTLE_SPACE = 2 << 30
_SAMPLE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class NfsCheck:
    """The checks of one nfs:// storage."""

    objects: NfsObjects
    group: Group
    read_only: bool

    def run(self) -> Iterator[Finding]:
        """All findings. Writes one file under `.hoist/tmp` and removes it again; nothing at all if read-only."""
        place = self.objects.contexts.place
        yield self.group.ok("libnfs", str(load()._name))
        began = time.perf_counter()
        try:
            self.objects.contexts.run(lambda session: session.stat("/"), "")
        except HoistError as error:
            mend = "look at the server, its exports and the firewall; try: showmount -e, or mount it"
            yield self.group.failed("server", str(error), mend)
            return
        took = time.perf_counter() - began
        where = f"{place.server}:{place.port} answers, {place.path} was opened in {took * 1000:.1f} ms"
        yield self.group.ok("server", where, seconds=took)
        yield self._space()
        if not self.read_only:
            yield from self._trial()

    def _space(self) -> Finding:
        try:
            free, total = self.objects.contexts.run(lambda session: session.space(), "")
        except HoistError as error:
            return self.group.warning("free space", f"cannot be told: {error}", "look at the server")
        detail = f"{free / (1 << 30):.1f} GiB of {total / (1 << 30):.1f}"
        figures = {"free_bytes": float(free), "total_bytes": float(total)}
        if free < _LITTLE_SPACE:
            return self.group.warning("free space", detail, "free some, or publish elsewhere", **figures)
        return self.group.ok("free space", detail, **figures)

    def _trial(self) -> Iterator[Finding]:
        key = f"{layout.TMP}doctor-{uuid4().hex}"
        data = memoryview(bytearray(_SAMPLE_BYTES))
        try:
            began = time.perf_counter()
            self.objects.put(key, data)
            wrote = time.perf_counter() - began
            self.objects.read_into(key, 0, data)
            read = time.perf_counter() - began - wrote
            self.objects.delete([key])
        except PermissionDenied as error:
            mend = "none needed to load; to publish, export it to be written by this user (?uid=&gid= says whom)"
            yield self.group.warning("write", str(error), mend)
            return
        except LocalError as error:
            yield self.group.failed("write", str(error), "see the message")
            return
        for name, seconds in (("write speed", wrote), ("read speed", read)):
            rate = _SAMPLE_BYTES / seconds
            detail = f"{rate / 1e6:,.0f} MB/s over {_SAMPLE_BYTES >> 20} MiB, one connection"
            yield self.group.ok(name, detail, bytes_per_second=rate)
