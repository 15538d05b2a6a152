"""One large file on its way into one target of a copy: what of it has to move, moving it, putting it in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock

from hoist.errors import HoistError, StorageUnavailable
from hoist.model.manifest import FileEntry
from hoist.read.source import Source
from hoist.retry import retrying
from hoist.storage.base import Publication
from hoist.storage.staging import BeginAnew, Part, PartLimits, Staged, Staging
from hoist.transfer.feed import Feed, Piece, Reading
from hoist.transfer.moved import How
from hoist.transfer.parts import Cutter
from hoist.transfer.sending import Sending

_ATTEMPTS = 3
Cut = list[tuple[Part, Sequence[int]]]
Span = tuple[int, int]


def cut_parts(source: Source, staging: Staging, limits: PartLimits) -> Cut:
    """The parts of a file whose blocks are known, each with the lengths in bytes of its blocks."""
    cutter, blocks = Cutter(limits), source.blocks
    found: Cut = []
    lengths: list[int] = []

    def end() -> None:
        nonlocal lengths
        found.append((cutter.cut(), lengths))
        lengths = []

    for index in range(len(blocks)):
        begin, last = blocks.span(index)
        length = last - begin
        if cutter.is_full(length):
            end()
        digest = blocks.digest(index)
        held = staging.find(digest, cutter.following())
        if cutter.ends_before(held):
            end()
        cutter.add(length, digest, held)
        lengths.append(length)
    if cutter.size:
        end()
    return found


class WholeFile:
    """A file that goes in one piece: from memory where it is small, as a stream where the target stages nothing."""

    def __init__(
        self, publication: Publication, sending: Sending, source: Source, entry: FileEntry, *, in_memory: bool
    ) -> None:
        self._publication, self._sending, self._source, self._entry = publication, sending, source, entry
        self._in_memory = in_memory
        self._reading: Reading | None = None
        self._done: Future[None] | None = None

    @property
    def spans(self) -> list[Span]:
        """What of the file has to be read."""
        return [(0, self._entry.size)]

    def start(self, feed: Feed, pieces: Sequence[Piece], senders: ThreadPoolExecutor) -> None:
        """Hold the pieces, and begin to send when it is this file's turn."""
        self._reading = Reading(feed, self._source, pieces, 0, self._entry.size, self._sending.stop)
        self._done = senders.submit(self._send, self._reading)

    def finish(self) -> None:
        """Wait until the file is there. Raises what sending did."""
        assert self._done is not None
        self._done.result()

    def give_up(self) -> None:
        """Let go of all that is held."""
        if self._done is not None and self._done.cancel() and self._reading is not None:
            self._reading.close()

    def _send(self, reading: Reading) -> None:
        try:
            view = reading.whole() if self._in_memory else None
            if view is None:
                send_whole(self._publication, self._sending, self._entry, reading)
                return
            self._sending.before(len(view))
            self._publication.put_data(self._entry, view)
            self._sending.moved.count("sent", len(view))
        finally:
            reading.close()


def send_whole(publication: Publication, sending: Sending, entry: FileEntry, reading: Reading) -> None:
    """Put a file by itself, and count it. Raises what reading and the storage do."""
    told = 0

    def count(size: int) -> None:
        nonlocal told
        sending.before(size)
        told += size
        sending.moved.advance(size)

    sent = publication.put_content(entry, reading.read_into, count)
    sending.moved.count("sent" if sent else "copied", entry.size, told=told)


class StagedFile:
    """A file that goes in parts: those that are there stay, those that the target holds are copied inside it."""

    def __init__(
        self, publication: Publication, staging: Staging, sending: Sending, source: Source, entry: FileEntry
    ) -> None:
        self._publication, self._staging, self._sending = publication, staging, sending
        self._source, self._entry = source, entry
        self._staged = self._open()
        self._missing = self._look()
        self._ended = Event()
        self._feed: Feed | None = None
        self._senders: ThreadPoolExecutor | None = None
        self._jobs: list[tuple[Future[None], Reading]] = []

    @property
    def spans(self) -> list[Span]:
        """What of the file has to be read, as far as is known."""
        return [(part.begin, part.end) for part in self._missing if not part.held]

    def start(self, feed: Feed, pieces: Sequence[Piece], senders: ThreadPoolExecutor) -> None:
        """Hold the pieces, and begin to send when it is this file's turn."""
        self._feed, self._senders = feed, senders
        for part in self._missing:
            of = [] if part.held else pieces
            reading = Reading(feed, self._source, of, part.begin, part.end, self._sending.stop)
            self._jobs.append((senders.submit(self._move, part, reading), reading))

    def finish(self) -> None:
        """Wait until the file is in its place. Raises what sending did, and what a storage may."""
        assert self._feed is not None
        for _ in range(_ATTEMPTS):
            try:
                for done, _reading in self._jobs:
                    done.result()
                self._staged.complete()
                break
            except BeginAnew:
                self._anew()
        else:
            raise StorageUnavailable(
                f"{self._entry.path}: what is sent of it keeps being taken away: run the copy again"
            )
        seconds, stop = self._sending.retry_seconds, self._sending.stop
        if not retrying(lambda: self._publication.place(self._entry, self._staged), seconds, stop):
            # It was swept away meanwhile.
            self._take_back()
            reading = Reading(self._feed, self._source, (), 0, self._entry.size, stop)
            send_whole(self._publication, self._sending, self._entry, reading)

    def give_up(self) -> None:
        """Let go of all that is held; what was sent waits for the next run."""
        self._ended.set()
        self._settle()
        self._staged.close()

    def _open(self) -> Staged:
        entry = self._entry
        # By its content, so that a copy from anywhere else goes on with what this one has sent.
        name = Path("/hoist-copy") / entry.digest
        return retrying(
            lambda: self._staging.open(entry.path, entry.size, name), self._sending.retry_seconds, self._sending.stop
        )

    def _look(self) -> list[Part]:
        self._lock, self._counted = Lock(), Counter[How]()
        missing = []
        for part, lengths in cut_parts(self._source, self._staging, self._staged.limits):
            if not part.held and self._staged.has_blocks(part, lengths):
                self._sending.moved.count("resumed", part.size)
                self._counted["resumed"] += part.size
            else:
                missing.append(part)
        return missing

    def _move(self, part: Part, reading: Reading) -> None:
        try:
            how = self._sending.move(self._staged, part, reading.views, self._ended)
        finally:
            reading.close()
        with self._lock:
            self._counted[how] += part.size

    def _anew(self) -> None:
        """Discard what is in the way, and send all, read by this target alone."""
        assert self._feed is not None
        assert self._senders is not None
        self._ended.set()
        self._settle()
        self._take_back()
        with suppress(HoistError):
            self._staged.discard()
        self._ended = Event()
        self._staged, self._jobs = self._open(), []
        self._missing = self._look()
        self.start(self._feed, (), self._senders)

    def _settle(self) -> None:
        """Wait for what is being sent; what has not begun never will."""
        for done, reading in self._jobs:
            if done.cancel():
                reading.close()
        wait([done for done, _ in self._jobs])

    def _take_back(self) -> None:
        for how, count in self._counted.items():
            self._sending.moved.count(how, -count)
        self._counted.clear()
