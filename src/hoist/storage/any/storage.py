"""The logical storage: every verb reads from the first member that can give what is wanted, and writes to the first one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hoist.errors import (
    HoistError,
    HoistWarning,
    StorageNotFound,
    StorageUnavailable,
    StorageUnsupported,
    VersionNotFound,
)
from hoist.storage.any.asking import said
from hoist.storage.any.member import Member
from hoist.storage.any.reader import AnyReader
from hoist.storage.base import Leftover, Publication, Storage, Tag, Version
from hoist.storage.moves import ANY, Whatever, check_untagged
from hoist.storage.staging import Staging

# Between a member's number and its own token of a leftover.
_MARK = "\n"


class AnyStorage(AnyReader):
    """Storages as one, in order of preference. `members` are their names and what opens each, sending nothing; `writer`
    opens the first one for writing, as reading gives up sooner than writing should."""

    def __init__(
        self,
        address: str,
        members: Sequence[tuple[str, Callable[[], Storage]]],
        writer: Callable[[], Storage] | None = None,
    ) -> None:
        super().__init__(address, members)
        self._open_writer = writer
        self._writing: Storage | None = None

    # Writing: to the first member.

    def occupied(self, version: Version, *, replace_unfinished: bool = False) -> bool:
        with self._first("publishing") as first:
            return first.occupied(version, replace_unfinished=replace_unfinished)

    def staging(self, version: Version, sizes: Collection[int], journals: Path | None = None) -> Staging | None:
        with self._first("publishing") as first:
            return first.staging(version, sizes, journals)

    def begin(self, version: Version, digest: str, *, replace_unfinished: bool = False) -> Publication:
        self._forget(version)
        with self._first("publishing") as first:
            return first.begin(version, digest, replace_unfinished=replace_unfinished)

    def begin_ahead(self, version: Version) -> Publication | None:
        self._forget(version)
        with self._first("publishing") as first:
            return first.begin_ahead(version)

    def set_tag(self, tag: Tag, *, before: Tag | Whatever | None = ANY, note: str = "") -> None:
        with self._first("tagging") as first:
            try:
                first.set_tag(tag, before=before, note=note)
            except VersionNotFound as error:
                name = self._members[0].name
                raise VersionNotFound(
                    f"{error}; {self.address} tags in its first member, {name}: bring the version there with hoist copy"
                ) from None

    def exclusive(self) -> bool:
        return self._first_opened().exclusive()

    @contextmanager
    def _first(self, what: str) -> Iterator[Storage]:
        name = self._members[0].name
        try:
            yield self._writable(self._members[0])
        except (StorageUnavailable, StorageNotFound) as error:
            raise type(error)(
                f"{self.address}: {what} goes to its first member, {name}: {error}. Try again when it is back, or name "
                "another member itself, and bring it over later with hoist copy"
            ) from None

    def add_signature(self, version: Version, digest: str, data: bytes) -> None:
        """To all members that have the version, as each may be read from; a warning names those that do not get it."""
        failed: dict[Member, HoistError] = {}
        for member in self._members:
            try:
                self._writable(member).add_signature(version, digest, data)
            except HoistError as error:
                failed[member] = error
        if len(failed) == len(self._members):
            raise next(iter(failed.values()))
        lost = {member: error for member, error in failed.items() if not isinstance(error, VersionNotFound)}
        if lost:
            warnings.warn(
                HoistWarning(f"{self.address}: {version} is not signed everywhere: {said(lost)}: sign it there later"),
                stacklevel=2,
            )

    # Removing: from all that have it.

    def remove_tag(self, name: str, tag: str) -> None:
        self._everywhere(lambda storage: storage.remove_tag(name, tag), f"the tag {name}:{tag}")

    def remove(self, version: Version, *, unless_tagged: bool = False) -> None:
        if unless_tagged:
            check_untagged(self.address, version, self.tags(version.name))
        try:
            self._everywhere(lambda storage: storage.remove(version, unless_tagged=unless_tagged), str(version))
        finally:
            self._forget(version)

    def _everywhere(self, remove: Callable[[Storage], None], what: str) -> None:
        """Raises VersionNotFound if no member has it, and tells of those where it may still be."""
        absent: list[HoistError] = []
        failed: dict[Member, HoistError] = {}
        for member in self._members:
            try:
                remove(self._writable(member))
            except VersionNotFound as error:
                absent.append(error)
            except HoistError as error:
                failed[member] = error
        if failed:
            kind = type(next(iter(failed.values())))
            raise kind(f"{self.address}: {what} is not removed everywhere: {said(failed)}")
        if len(absent) == len(self._members):
            raise absent[0]

    def leftovers(self, older_than: float) -> Sequence[Leftover]:
        found: list[Leftover] = []
        unsupported: list[HoistError] = []
        for number, member in enumerate(self._members):
            try:
                those = self._writable(member).leftovers(older_than)
            except StorageUnsupported as error:
                unsupported.append(error)
                continue
            found += [replace(each, token=f"{number}{_MARK}{each.token}") for each in those]
        if len(unsupported) == len(self._members):
            raise unsupported[0]
        return found

    def collect(self, leftover: Leftover, older_than: float) -> bool:
        number, _, token = leftover.token.partition(_MARK)
        return self._writable(self._members[int(number)]).collect(replace(leftover, token=token), older_than)

    def close(self) -> None:
        super().close()
        if self._writing is not None:
            self._writing.close()

    def _writable(self, member: Member) -> Storage:
        if member is self._members[0] and self._open_writer:
            with self._lock:
                if self._writing is None:
                    self._writing = self._open_writer()
                return self._writing
        return member.storage()

    def _unrestorable(self, version: Version) -> StorageUnsupported:
        names = ", ".join(member.name for member in self._members)
        return StorageUnsupported(f"{self.address} is several storages: mend {version} in its own: {names}")
