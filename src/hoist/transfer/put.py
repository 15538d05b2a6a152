"""One file on its way into a version: placed where it was staged, copied inside the storage, or sent."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

from hoist.errors import Cancelled, HoistError
from hoist.pace import Pace
from hoist.retry import retrying
from hoist.storage.base import Publication
from hoist.storage.posix import changed
from hoist.storage.staging import Staged
from hoist.transfer.moved import Moved
from hoist.transfer.pack import Kept
from hoist.transfer.scan import LocalFile, ScannedFile
from hoist.transfer.stage import Stager


@dataclass
class Putter:
    """Puts files into a publication, from any thread.

    `retry_seconds` is how long a passing error is tried again; `staged` lie where nobody sees them, by path; `kept` are in
    memory.
    """

    moved: Moved
    stop: Event
    retry_seconds: float
    pace: Pace | None = None
    staged: dict[str, Staged] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)

    def stage(self, file: LocalFile, stager: Stager) -> ScannedFile:
        """Send a file to where nobody sees it, and hash it on the way. Raises what `Stager.stage` does."""
        scanned, self.staged[file.path] = stager.stage(file)
        return scanned

    def let_go(self) -> None:
        """What is staged waits for the next run, which may be this process's own."""
        for staged in list(self.staged.values()):
            staged.close()

    def discard(self) -> None:
        """What is staged is wanted by nobody."""
        for staged in self.staged.values():
            with suppress(HoistError):
                staged.discard()

    def put(self, publication: Publication, item: ScannedFile, stager: Stager | None) -> None:
        """Have a file in a publication, one way or another. Raises LocalError if it changed, and what a storage may."""
        entry = item.entry
        staged = self.staged.get(entry.path)
        if entry.link and publication.link(entry):
            if staged is not None:
                staged.discard()
            else:
                self.moved.count("copied", entry.size)
            return
        if staged is not None:
            if publication.has(entry):
                # Another publish of the same content was quicker.
                staged.discard()
                return
            if self._place(publication, item, staged):
                return
            # It was swept away meanwhile: what was counted as sent has to go again.
        elif publication.has(entry):
            self.moved.count("resumed", entry.size)
            return
        elif publication.adopt(entry):
            self.moved.count("copied", entry.size)
            return
        elif stager is not None and stager.wants(item.file):
            again, staged = stager.stage(item.file)
            if again.entry != entry:
                staged.discard()
                raise changed(item.file.source)
            if self._place(publication, again, staged):
                return
        self._send(publication, item, told=staged is not None)

    def _place(self, publication: Publication, item: ScannedFile, staged: Staged) -> bool:
        self._check(item)
        return retrying(lambda: publication.place(item.entry, staged), self.retry_seconds, self.stop)

    def _send(self, publication: Publication, item: ScannedFile, *, told: bool) -> None:
        size = item.entry.size
        counted = size if told else 0

        def count(sent: int) -> None:
            nonlocal counted
            self.before_sending(sent)
            # Asked before the storage keeps the file, so that a wrong one is not there to be resumed with.
            self._check(item)
            if not told:
                counted += sent
                self.moved.advance(sent)

        sent = True
        kept = self.kept.take(item.entry.path)
        if kept is not None:
            # A small one that lies in no pack: empty, equal to another, or with too few others.
            count(len(kept))
            publication.put_data(item.entry, kept)
        else:
            sent = publication.put_file(item.entry, item.file.source, count)
        self._check(item)
        self.moved.count("sent" if sent else "copied", size, told=counted)

    def before_sending(self, count: int) -> None:
        """Wait until so many bytes may go, by the bandwidth's cap. Raises Cancelled."""
        if self.pace:
            self.pace.take(count, self.stop)
        self.unless_stopped(count)

    def unless_stopped(self, count: int) -> None:
        """What is told of bytes may end here. Raises Cancelled."""
        if self.stop.is_set():
            raise Cancelled("the publish was cancelled")

    def _check(self, item: ScannedFile) -> None:
        if not item.file.unchanged():
            raise changed(item.file.source)
