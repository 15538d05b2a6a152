"""Bringing one target into step: tags after their versions, each moved from what stood there; removing last.

Everything is looked at again right before it is changed, as the difference may be minutes old, and another run of the same
plan may be at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import TypeVar

from hoist.errors import (
    Conflict,
    Damaged,
    FileNotFound,
    HoistError,
    LocalError,
    PermissionDenied,
    StorageNotFound,
    StorageUnavailable,
    StorageUnsupported,
    VersionNotFound,
)
from hoist.model.manifest import digest_of
from hoist.storage.base import Storage, Tag, Version
from hoist.sync.difference import Difference
from hoist.sync.result import Problem, TargetResult
from hoist.transfer.copy import Copied
from hoist.transfer.sign import carry_signatures

Thing = TypeVar("Thing")
_LOOKS = 3
# Whoever refuses one thing for these refuses the next: the rest waits for the next run.
_FINAL = (StorageNotFound, PermissionDenied, StorageUnsupported)
# A registry may miss an image that another run takes away at that moment.
_GONE = (VersionNotFound, FileNotFound)
# Of a storage that answers all the same, so many failures are taken for its objects'.
_FAILURES = 3


class Target:
    """One target of a run. What fails here is a problem of this target, and nobody else hears of it."""

    def __init__(self, source: Storage, storage: Storage, difference: Difference) -> None:
        self.storage = storage
        self.difference = difference
        self._source = source
        self._lock = Lock()
        self._lacks = set(difference.bring)
        self._held = set(difference.conflicts) | set(difference.doubts)
        self._down = self._full = False
        self._failures = 0
        self._brought: list[Version] = []
        self._sent = self._copied = 0
        self._settled = 0
        self._signed: list[Version] = []
        self._tags: list[Tag] = []
        self._untagged: list[Tag] = []
        self._removed: list[Version] = []
        self._later: list[str] = []
        self._problems: list[Problem] = []
        self._tell_what_is_in_the_way()

    def wants(self, version: Version) -> bool:
        """Whether a version is still to be brought here."""
        with self._lock:
            return version in self._lacks and not (self._down or self._full)

    @property
    def lacks(self) -> list[Version]:
        """The versions that are not here yet."""
        with self._lock:
            return sorted(self._lacks)

    @property
    def tags_left(self) -> int:
        """How many tags are not yet where they should be."""
        with self._lock:
            planned = len(self.difference.retag) + len(self.difference.untag) + len(self.difference.stuck)
            return planned - self._settled

    def came(self, copied: Copied) -> None:
        """What became of a version that was to be brought."""
        error = copied.error
        if error is not None and not self._ended_elsewhere(copied):
            self.failed(str(copied.version), error)
            return
        with self._lock:
            self._lacks.discard(copied.version)
            self._sent += copied.sent_bytes
            self._copied += copied.copied_bytes
            if not (copied.already or error):
                self._brought.append(copied.version)

    def failed(self, what: str, error: HoistError) -> None:
        """Something could not be done."""
        passing = isinstance(error, StorageUnavailable)
        lost = isinstance(error, _FINAL) or (passing and not self._answers())
        with self._lock:
            self._problems.append(Problem(what, error))
            self._failures += passing
            self._down = self._down or lost or self._failures >= _FAILURES
            self._full = self._full or isinstance(error, LocalError)

    def gone(self, version: Version) -> None:
        """The source has it no more."""
        with self._lock:
            self._lacks.discard(version)
            self._later.append(f"{version} is no longer at the source")

    def sign(self) -> None:
        """Bring the signatures that versions here lack."""
        for version in self.difference.sign:
            self._trying(f"the signatures of {version}", self._sign, version)

    def move_tags(self, versions: Iterable[Version] | None = None) -> None:
        """Move the tags that name these versions, or (None) those whose versions were there before."""
        those = None if versions is None else set(versions)
        for retag in self.difference.retag:
            tag = retag.tag
            version = Version(tag.name, tag.label)
            if (version in those) if those is not None else (version not in self.difference.bring):
                self._trying(f"the tag {tag.name}:{tag.tag}", self._move, tag)

    def end(self) -> None:
        """Take away the tags that the source has no more, and then what the plan does not want."""
        for tag in self.difference.untag:
            self._trying(f"the tag {tag.name}:{tag.tag}", self._untag, tag)
        # A model that lacks a newer version here keeps the older ones.
        behind = {version.name for version in self._lacks | self._held}
        for version in self.difference.remove:
            if version.name not in behind:
                self._trying(str(version), self._remove, version)

    def result(self) -> TargetResult:
        """What was done."""
        with self._lock:
            late = sorted(self._lacks) if not self._problems else []
            return TargetResult(
                storage=self.storage.address,
                difference=self.difference,
                brought=tuple(self._brought),
                sent_bytes=self._sent,
                copied_bytes=self._copied,
                signed=tuple(self._signed),
                tags=tuple(self._tags),
                untagged=tuple(self._untagged),
                removed=tuple(self._removed),
                later=(*self._later, *(f"{version} was not brought" for version in late)),
                problems=tuple(self._problems),
            )

    def _tell_what_is_in_the_way(self) -> None:
        where = self.storage.address
        for version in self.difference.conflicts:
            mend = f"{where} has {version} with other content: remove it there, or publish under another label"
            self.failed(str(version), Conflict(mend))
        for version in self.difference.doubts:
            mend = (
                f"the manifest of {version} in {where} or {self._source.address} cannot be read: hoist verify says more"
            )
            self.failed(str(version), Damaged(mend))
        for tag in self.difference.stuck:
            if Version(tag.name, tag.label) not in self._held:
                mend = f"the tag {tag.name}:{tag.tag} in {self._source.address} names no version there: set it again"
                self.failed(f"the tag {tag.name}:{tag.tag}", VersionNotFound(mend))

    def _trying(self, what: str, action: Callable[[Thing], None], thing: Thing) -> None:
        if self._down:
            return
        try:
            action(thing)
        except HoistError as error:
            self.failed(what, error)

    def _sign(self, version: Version) -> None:
        try:
            found, digest = self._source.signatures(version), digest_of(self._source.read_manifest(version))
            carried = carry_signatures(found, self.storage, version, digest)
        except VersionNotFound:
            self._wait(f"{version} was removed meanwhile")
            return
        if carried:
            with self._lock:
                self._signed.append(version)

    def _move(self, tag: Tag) -> None:
        """To what the source says now, from what stands here now."""
        moved = False
        for look in range(_LOOKS):
            # In this order: who is overtaken by another run is refused, and does not set an older tag over a newer one.
            stands = self.storage.find_tag(tag.name, tag.tag)
            now = self._source.find_tag(tag.name, tag.tag)
            if now is None:
                self._wait(f"the tag {tag.name}:{tag.tag} was removed at the source meanwhile")
                return
            if stands == now:
                # Looked at again after it was moved, as the source may have moved on, and back to what stood here.
                self._settle(now if moved else None)
                return
            try:
                self.storage.set_tag(now, before=stands, note=f"sync from {self._source.address}")
                moved = True
            except Conflict:
                if look + 1 == _LOOKS:
                    raise
            except _GONE:
                self._wait(f"the tag {tag.name}:{tag.tag} names {now.label}, which is not here yet")
                return
        self._wait(f"the tag {tag.name}:{tag.tag} moves at the source again and again")

    def _settle(self, moved: Tag | None) -> None:
        with self._lock:
            self._settled += 1
            if moved:
                self._tags.append(moved)

    def _answers(self) -> bool:
        """Whether the storage says anything at all now."""
        try:
            self.storage.find_tag("hoist", "anything")
        except StorageUnavailable:
            return False
        except HoistError:
            return True
        return True

    def _ended_elsewhere(self, copied: Copied) -> bool:
        """Whether another run of the same plan was first."""
        if not isinstance(copied.error, Conflict):
            return False
        try:
            return digest_of(self.storage.read_manifest(copied.version)) == copied.digest
        except HoistError:
            return False

    def _untag(self, tag: Tag) -> None:
        if self._source.find_tag(tag.name, tag.tag) is not None or self.storage.find_tag(tag.name, tag.tag) != tag:
            self._wait(f"the tag {tag.name}:{tag.tag} moved meanwhile")
            return
        try:
            self.storage.remove_tag(tag.name, tag.tag)
        except _GONE:
            return
        with self._lock:
            self._settled += 1
            self._untagged.append(tag)

    def _remove(self, version: Version) -> None:
        try:
            # Not the last one: the source must have it still.
            if self._source.read_manifest(version) != self.storage.read_manifest(version):
                return
            self.storage.remove(version, unless_tagged=True)
        except _GONE:
            return
        except Conflict:
            self._wait(f"{version} has a tag by now, or is being published")
            return
        with self._lock:
            self._removed.append(version)

    def _wait(self, why: str) -> None:
        with self._lock:
            self._later.append(why)
