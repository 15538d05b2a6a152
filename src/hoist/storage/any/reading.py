"""Reading bytes from whichever member can give them: fails over for each read, and comes back by itself."""

from __future__ import annotations

from collections.abc import Iterator
from threading import local

from hoist.afresh import attempt_afresh
from hoist.errors import Cancelled, FileNotFound, HoistError, PermissionDenied, UsageError
from hoist.storage.any.asking import Asking
from hoist.storage.any.member import Member, Patience, Read, is_loss
from hoist.storage.base import StoredFile, Version


class _Last(local):
    """Who has served this thread last: if that came wrong, this thread asks again."""

    member: Member | None = None


class Reading:
    """Reads of one logical storage. A version is read only from members that hold it with the digest asked for."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._last = _Last()

    def read(
        self,
        version: Version,
        digest: str,
        key: str,
        read: Read,
        buffer: memoryview,
        file: StoredFile | None = None,
        *,
        optional: bool = False,
    ) -> None:
        """Fill `buffer` from the version's file (or pack) of that `key`. Raises the first member's error, or
        StorageUnavailable if one of those that hold it cannot be asked. `optional`: the caller can do without, so that one
        member's word that it is not there is enough."""
        problems: dict[Member, HoistError] = {}
        suspect = self._suspect(version, key)
        for member in self._asking.members:
            member.come_back(read, len(buffer))
        for member, patience in self._candidates(version, digest, key, suspect):
            try:
                if not member.holds(version, digest):
                    continue
                member.read(read, buffer, file, patience)
            except (Cancelled, UsageError):
                raise
            except HoistError as error:
                # Its traceback holds the caller's buffer.
                problems[member] = error.with_traceback(None)
                if not is_loss(error) and not isinstance(error, PermissionDenied):
                    member.known.wrong(version, key)
                continue
            self._last.member = member
            return
        if not problems:
            raise FileNotFound(f"{self._asking.address}: no member holds {version} with {digest}")
        absent = [error for error in problems.values() if isinstance(error, FileNotFound)]
        raise absent[0] if optional and absent else self._asking.failure(problems, f"reading {version}/{key}")

    def _suspect(self, version: Version, key: str) -> Member | None:
        """Who gave wrong bytes, if this read is there to mend that, and the same one has been asked again before."""
        last = self._last.member
        if last is None or attempt_afresh() < 2:
            return None
        last.known.wrong(version, key)
        return last

    def _candidates(
        self, version: Version, digest: str, key: str, suspect: Member | None
    ) -> Iterator[tuple[Member, Patience]]:
        """Whom to ask, and how patiently: who is well, then who had this file wrong, then who is lost."""
        trusted: list[Member] = []
        mistrusted: list[Member] = []
        lost: list[Member] = []
        for member in self._asking.members:
            if member is suspect or member.known.holds(version, digest) is False:
                continue
            well = member.breaker.closed
            (lost if not well else trusted if member.known.trusts(version, key) else mistrusted).append(member)
        left = [*trusted, *mistrusted, *lost, *([suspect] if suspect else [])]
        while left:
            member = left.pop(0)
            others_well = any(other.breaker.closed for other in left)
            yield member, "strict" if others_well else "lenient" if left else "last"
