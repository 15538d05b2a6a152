"""The audit of one storage: the first look, then its bytes. What fails is a finding, and the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from hoist.audit.contents import Held, look_at, look_at_tag, look_at_unlisted, names_what_is_there, unreadable
from hoist.audit.finding import Finding, Looked
from hoist.audit.protection import check_protection
from hoist.audit.reading import Reading
from hoist.audit.sample import Sample
from hoist.config import StorageConfig
from hoist.errors import HoistError, PermissionDenied, StorageUnsupported
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.progress import Progress
from hoist.read.engine import Engine
from hoist.storage.base import Storage, Version
from hoist.transfer.collect import GRACE_SECONDS

_LEFTOVERS = {
    "publish": "unfinished publishes",
    "upload": "unfinished uploads",
    "document": "documents of no version",
    "marker": "markers of no version",
}


class StorageAudit:
    """One storage under audit. `findings` grows; `held` are its versions that can be read."""

    def __init__(self, storage: Storage, config: StorageConfig, environ: Mapping[str, str], engine: Engine) -> None:
        self.storage = storage
        self.config = config
        self.engine = engine
        self.held: dict[Version, Held] = {}
        self.findings: list[Finding] = []
        self._environ = environ
        self._tags = 0
        self._read_bytes = 0
        self._down = False

    @property
    def looked(self) -> Looked:
        """What was looked at."""
        held = self.held.values()
        return Looked(
            storage=self.storage.address,
            kind=self.storage.kind,
            versions=len(held),
            files=sum(each.files for each in held),
            size=sum(each.size for each in held),
            tags=self._tags,
            read_bytes=self._read_bytes,
        )

    def look(self, *, documents: bool) -> None:
        """The first look: everything but the bytes of files, and who may change it."""
        self._trying("its versions", lambda: self._versions(documents=documents))
        if self._down:
            return
        self._trying("its tags", self._look_at_tags)
        self._trying("what was left behind", self._garbage, needed=False)

    def to_read(self, sample: Sample) -> int:
        """About how many bytes of files a sample takes here."""
        size = sum(each.size for each in self.held.values())
        return 0 if self._down else int(size * sample.share_of(size))

    def read(self, sample: Sample, seed: int, progress: Progress) -> None:
        """The second look: the bytes."""
        if self._down or sample.none:
            return
        reading = Reading(self.storage, self.engine, progress)
        held = sorted(self.held.values(), key=lambda each: each.version)
        found = reading.whole(held) if sample.whole else reading.sampled(held, sample, seed)
        known = {(each.version, each.part, each.path) for each in self.findings}

        def take() -> Iterable[Finding]:
            # What the names and sizes have told is told once.
            yield from (each for each in found if (each.version, each.part, each.path) not in known)

        self._trying("its files", take)
        self._read_bytes = reading.read_bytes

    def look_at_protection(self) -> None:
        """Who else may read and change it: after repairs, which write files anew."""
        if not self._down:
            self._trying("its permissions", self._protection, needed=False)

    def look_again_at_tags(self) -> None:
        """What became of stale tags, after versions have come."""
        for place, item in enumerate(self.findings):
            name, _, tag = item.what.rpartition(":")
            with suppress(HoistError):
                if item.kind == "stale-tag" and names_what_is_there(self.storage, name, tag):
                    self.findings[place] = item.mended()

    def _trying(self, what: str, action: Callable[[], Iterable[Finding]], *, needed: bool = True) -> None:
        try:
            for finding in action():
                self.findings.append(finding)
        except StorageUnsupported:
            # It has no such thing: a registry shows nothing of what killed publishes leave.
            return
        except PermissionDenied as error:
            # Who may only read cannot see everything; that is no fault of the storage.
            self._down = self._down or (needed and not self.held)
            refused = unreadable(self.storage, what, error)
            self.findings.append(refused if needed else replace(refused, severity="note"))
        except HoistError as error:
            self._down = self._down or not self.held
            self.findings.append(unreadable(self.storage, what, error))

    def _versions(self, *, documents: bool) -> Iterable[Finding]:
        versions = list(self.storage.versions())
        found = for_each(
            lambda version: look_at(self.storage, version, documents=documents), versions, 2 * SMALL_AT_ONCE
        )
        for look in found:
            if look.held:
                self.held[look.held.version] = look.held
            yield from look.findings
        yield from look_at_unlisted(self.storage)

    def _look_at_tags(self) -> Iterable[Finding]:
        digests = {version: held.digest for version, held in self.held.items()}
        # Of a version whose manifest cannot be read it cannot be told what its tags name.
        unread = {finding.version for finding in self.findings if finding.version not in digests}
        for tag in self.storage.tags():
            self._tags += 1
            found = None if Version(tag.name, tag.label) in unread else look_at_tag(self.storage, tag, digests)
            if found:
                yield found

    def _garbage(self) -> Iterable[Finding]:
        left = self.storage.leftovers(time.time() - GRACE_SECONDS)
        for kind, words in _LEFTOVERS.items():
            mine = [item for item in left if item.kind == kind]
            if mine:
                size = sum(item.size for item in mine)
                shown = ", ".join(item.name for item in mine[:3]) + (", ..." if len(mine) > 3 else "")
                detail = f"{len(mine)} {words} of {size} bytes, older than a day: {shown}"
                mend = f"hoist collect {self.storage.address}"
                yield Finding("garbage", "warning", self.storage.address, words, detail, mend)

    def _protection(self) -> Iterable[Finding]:
        return check_protection(self.storage, self.config, self._environ, self.held)
