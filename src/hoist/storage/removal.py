"""Removing a version of a tree of keys, and moving a tag to one: whoever comes second sees the first.

A removal is announced by the version's claim, then it looks at the tags; a tag is moved, then its mover looks at the claim.
So one of the two gives way, and no tag is left that names a version which is gone.
"""

from __future__ import annotations

import time
from uuid import uuid4

from hoist.errors import Conflict, FileNotFound, VersionNotFound
from hoist.model.manifest import digest_of
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.storage.claim import Claimant
from hoist.storage.objects import Objects

_TIMES = 5
# From its announcement to the manifest's end a removal makes a few requests. One that takes longer was killed, or finds that
# it has lost the claim.
_REMOVAL_SECONDS = 60
_WAITS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)


class Removal:
    """One removal of a version whose manifest has this digest."""

    def __init__(self, objects: Objects, version: Version, digest: str) -> None:
        self._objects = objects
        self._version = version
        self._digest = digest
        self._claimant = Claimant(objects, version, digest)
        self._sign = uuid4().hex

    def announce(self) -> bool:
        """Say that the version is being removed; False if others hold its label. Raises VersionNotFound if it is gone."""
        for _ in range(_TIMES):
            if self._claimant.announce_removal(self._sign):
                break
        else:
            return False
        if _digest_at(self._objects, self._version) != self._digest:
            self.end()
            raise VersionNotFound(f"{self._objects.address} has no version {self._version} any more")
        return True

    def holds(self) -> bool:
        """Whether that still stands."""
        held = self._claimant.held()
        return held is not None and held.removing == self._sign

    def end(self) -> None:
        """The version is gone, or stays after all."""
        if self.holds():
            self._claimant.drop()


def require_version(objects: Objects, version: Version, digest: str) -> None:
    """Raise VersionNotFound unless the version is there with this digest and stays; Conflict if that cannot be told now."""
    claimant = Claimant(objects, version, digest)
    for wait in (*_WAITS, None):
        # In this order: a removal that ends while we look has taken the manifest away before its claim is gone.
        held = claimant.held()
        if _digest_at(objects, version) != digest:
            raise VersionNotFound(f"{objects.address} has no version {version} of {digest}: a tag needs one to name")
        if held is None or not held.removing:
            return
        if abs(time.time() - held.started) > _REMOVAL_SECONDS:
            # Of a removal that was killed; one that only slept finds that it has lost the claim, and begins again.
            claimant.drop()
        elif wait is not None:
            time.sleep(wait)
        else:
            raise Conflict(
                f"{version} is being removed from {objects.address} (by {held.host}): if that was killed, wait for a "
                "minute, then tag again"
            )
    raise Conflict(f"{version} is being removed from {objects.address} again and again")


def _digest_at(objects: Objects, version: Version) -> str:
    try:
        return digest_of(objects.get(layout.manifest_key(version)).data)
    except FileNotFound:
        return ""
