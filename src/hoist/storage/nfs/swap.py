"""Writing a small object only if it is what it was: on a server that knows no such call.

The new content is itself the lock: it is linked to a name that the object has for that, which only one writer can do;
then the old content is compared; then the lock is renamed to the object, which brings the content and lets the lock go
in one call. A lock that its writer left behind (killed, cut off) is taken away after a minute: such a writer, should it
live on, finds no lock to rename and begins again. Locks of the NFS protocol are not used: libnfs 4.0 does not let go of
them.

This keeps writers by nfs:// apart, on whatever hosts. Who moves the same tag through a mount at the same moment has
another lock, and the later of the two wins; creating is exclusive for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from blake3 import blake3

from hoist.errors import StorageUnavailable
from hoist.storage import layout
from hoist.storage.nfs.contexts import Contexts
from hoist.storage.nfs.errors import NfsStatus
from hoist.storage.nfs.session import Session
from hoist.storage.nfs.writing import link_file, read_all, remove, written

_STALE_SECONDS = 60.0
_PATIENCE_SECONDS = 90.0
_WAIT_SECONDS = 0.01


class Swap:
    """One writer's new content for one key."""

    def __init__(self, key: str, data: bytes) -> None:
        self._key = key
        self._path = f"/{key}"
        self._data = data
        self._mine: set[int] = set()
        self.lock_key = f"{layout.TMP}swap-{blake3(key.encode(errors='surrogateescape')).hexdigest(16)}"
        self._lock = f"/{self.lock_key}"

    def create(self, contexts: Contexts) -> bool:
        """Write it if there is nothing; False if there is."""

        def create(session: Session) -> bool:
            with written(session, memoryview(self._data)) as made:
                return link_file(session, made, self._path)

        return contexts.run(create, self._key)

    def replace(self, contexts: Contexts, fits: Callable[[bytes], bool]) -> bool:
        """Write it in the place of what `fits`; False if that is not there."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            done = contexts.run(lambda session: self._try(session, fits), self._key)
            if done is not None:
                return done
            time.sleep(_WAIT_SECONDS)
        raise StorageUnavailable(f"{self._key}: others have written it for {_PATIENCE_SECONDS:g} s: run it again")

    def _try(self, session: Session, fits: Callable[[bytes], bool]) -> bool | None:
        """None: somebody else is at it, or has taken the lock away."""
        with written(session, memoryview(self._data)) as made:
            mine = int(session.stat(made).nfs_ino)
            # Also where the answer gets lost: then the next try knows the lock for its own.
            self._mine.add(mine)
            if not link_file(session, made, self._lock):
                self._take_away(session, made)
                return None
            try:
                if not self._fits(session, fits):
                    self._let_go(session, mine)
                    return False
                if not self._holds(session, mine):
                    return None
                session.rename(self._lock, self._path)
            except NfsStatus as error:
                self._let_go(session, mine)
                # Taken away between the two calls; or the object's folder was, with the object.
                if error.name == "NOENT":
                    return None
                raise
            return True

    def _let_go(self, session: Session, mine: int) -> None:
        with suppress(NfsStatus):
            if self._holds(session, mine):
                remove(session, self._lock)

    def _fits(self, session: Session, fits: Callable[[bytes], bool]) -> bool:
        try:
            return fits(read_all(session, self._path))
        except NfsStatus as error:
            if error.missing:
                return False
            raise

    def _holds(self, session: Session, mine: int) -> bool:
        try:
            return bool(session.stat(self._lock).nfs_ino == mine)
        except NfsStatus as error:
            if error.missing:
                return False
            raise

    def _take_away(self, session: Session, made: str) -> None:
        """Remove a lock of an earlier try of this writer, or one that is old by the server's clock: `made` is new."""
        aside = f"/{layout.TMP}{uuid4().hex}"
        try:
            lock, now = session.stat(self._lock), session.stat(made)
            if lock.nfs_ino not in self._mine and now.nfs_mtime - lock.nfs_mtime < _STALE_SECONDS:
                return
            session.rename(self._lock, aside)
        except NfsStatus as error:
            if not error.missing:
                raise
            return
        remove(session, aside)
