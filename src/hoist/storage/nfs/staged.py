"""A file on its way onto an NFS server: a hidden file beside the tree, renamed when its version has its label.

This host's journal tells which parts are on the server's disk, so that a run after a killed one sends only the rest.
Nothing is kept open: each part is written, synced and let go of in one session.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from hoist.errors import FileNotFound
from hoist.storage import layout
from hoist.storage.journal import Journal
from hoist.storage.nfs.session import Session
from hoist.storage.nfs.writing import create, opened, remove, rename_file
from hoist.storage.staging import BeginAnew, Body, Part, PartLimits, Staged

if TYPE_CHECKING:
    from hoist.storage.nfs.objects import NfsObjects

_LIMITS = PartLimits(smallest=1, usual=16 << 20, copied=1 << 62)


class StagedNfsFile(Staged):
    """See Staged."""

    limits = _LIMITS

    def __init__(self, objects: NfsObjects, key: str, size: int, source: Path, journals: Path | None) -> None:
        self._objects = objects
        self._key = key
        self._size = size
        self._whole: str | None = None
        self._journal = Journal(journals, f"nfs {objects.address}", key, source)
        self._path = self._begin()

    def has(self, part: Part) -> bool:
        noted = self._journal.parts.get(part.number)
        # Where it lies is noted too: parts of another cut are none of these.
        return noted == (part.digest.hex(), _range(part))

    def copy(self, part: Part) -> bool:
        held = part.held
        if held is None or not part.size == self._size == held.size:
            return False
        # A link to the whole will do, when the time comes.
        self._whole = held.key
        return True

    def put(self, part: Part, body: Body) -> bool:
        def put(session: Session) -> None:
            with opened(session, self._path, os.O_RDWR) as file:
                at = part.begin
                for view in body():
                    file.write(at, view)
                    at += len(view)
                file.sync()

        try:
            self._objects.contexts.run(put, self._key)
        except FileNotFound:
            raise BeginAnew(f"what was sent of {self._key} was swept away") from None
        self._journal.note(part.number, part.digest.hex(), _range(part))
        return True

    def complete(self) -> None:
        def complete(session: Session) -> None:
            with opened(session, self._path, os.O_RDWR) as file:
                file.truncate(self._size)
                file.sync()

        if self._whole:
            return
        try:
            self._objects.contexts.run(complete, self._key)
        except FileNotFound:
            raise BeginAnew(f"what was sent of {self._key} was swept away") from None

    def place(self) -> bool:
        if self._whole:
            self.discard()
            return self._objects.copy(self._whole, self._key)

        def place(session: Session) -> bool:
            if session.stat(self._path).nfs_size != self._size:
                return False
            rename_file(session, self._path, f"/{self._key}")
            return True

        try:
            placed = self._objects.contexts.run(place, self._key)
        except FileNotFound:
            placed = False
        self._journal.forget()
        return placed

    def discard(self) -> None:
        self._objects.contexts.run(lambda session: remove(session, self._path), self._key)
        self._journal.forget()

    def close(self) -> None:
        self._journal.close()

    def _begin(self) -> str:
        if self._journal.upload:
            path = f"/{layout.TMP}{self._journal.upload}"
            try:
                if self._objects.head(path[1:]).size <= self._size:
                    return path
                self._objects.contexts.run(lambda session: remove(session, path), self._key)
            except FileNotFound:
                pass
        name = f"stage-{uuid4().hex}"
        path = f"/{layout.TMP}{name}"
        self._objects.contexts.run(lambda session: create(session, path).shut(), self._key)
        self._journal.begin(name)
        return path


def _range(part: Part) -> str:
    return f"{part.begin}-{part.end}"
