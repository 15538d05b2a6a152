"""One target of a copy: its publication, what goes there and how much, and its own end, good or bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock

from hoist.errors import Cancelled, HoistError, VersionNotFound
from hoist.model.manifest import FileEntry, Manifest
from hoist.model.packs import Pack, PackIndex
from hoist.pace import Pace
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.progress import Progress
from hoist.read.source import Source
from hoist.storage.base import Publication, Storage, Tag, Version
from hoist.storage.image.passing import Passing
from hoist.storage.staging import Staging
from hoist.transfer.copy_file import StagedFile, WholeFile
from hoist.transfer.feed import Feed, Piece
from hoist.transfer.moved import Moved
from hoist.transfer.pack import Packer
from hoist.transfer.sending import Sending
from hoist.transfer.sign import carry_signatures, warn_unless_signed

_SENDERS = 8
_CLOSERS = 4
FileOnItsWay = StagedFile | WholeFile


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """See copy.Options. `pace` holds back what is sent to all targets together."""

    replace_unfinished: bool
    uploads: Path | None
    retry_seconds: float
    pace: Pace | None


class Target:
    """A storage that a version is copied to. What fails here is kept as `error`, and nobody else hears of it."""

    def __init__(self, storage: Storage, version: Version, options: TargetOptions, progress: Progress) -> None:
        self.storage = storage
        self.version = version
        self.moved = Moved(progress)
        self.stop = Event()
        self.error: HoistError | None = None
        self.already = False
        self.passing: Passing | None = None
        self.packs = self.pack_bytes = self.signatures = 0
        self.tags: tuple[str, ...] = ()
        self.sending = Sending(self.moved, self.stop, options.retry_seconds, options.pace)
        self._options = options
        self._lock = Lock()
        self._publication: Publication | None = None
        self._staging: Staging | None = None
        self._senders = ThreadPoolExecutor(_SENDERS, "hoist-send")
        self._closers = ThreadPoolExecutor(_CLOSERS, "hoist-close")
        self._files: list[FileOnItsWay] = []
        self._ends: list[Future[None]] = []

    @property
    def live(self) -> bool:
        """Whether anything is to be sent there still."""
        return not self.already and self.error is None

    def trying(self, action: Callable[[], None]) -> None:
        """Do something for this target alone; its error is the target's."""
        if self.error is None:
            try:
                action()
            except HoistError as error:
                self.fail(error)

    def fail(self, error: HoistError) -> None:
        """End it for this target; what it has of the version waits for the next run."""
        with self._lock:
            if self.error is None:
                self.error = error
        self.stop.set()

    def look(self, manifest: Manifest) -> None:
        """See whether the version is there. Raises what a storage may."""
        with suppress(VersionNotFound):
            self.already = self.storage.read_manifest(self.version) == manifest.data

    def begin(self, manifest: Manifest) -> None:
        """Claim the label, unless the version is there. Raises Conflict, and what a storage may."""
        if self.already:
            return
        replace = self._options.replace_unfinished
        if self.passing:
            self.passing.target.is_done(self.version, manifest.digest)
            return
        self._publication = self.storage.begin(self.version, manifest.digest, replace_unfinished=replace)
        self._publication.expect(manifest.files)
        sizes = [file.size for file in manifest.files]
        self._staging = self.storage.staging(self.version, sizes, self._options.uploads)

    def pass_on(self) -> None:
        """Bring an image as it is."""
        assert self.passing

        def on_bytes(count: int) -> None:
            if count > 0:
                self.sending.before(count)
            self.moved.count("sent", count)

        self.passing.bring(on_bytes, lambda count: self.moved.count("copied", count))

    def bring_small(self, files: Sequence[FileEntry], content: Callable[[FileEntry], memoryview]) -> None:
        """Put small files, each whole."""

        def bring(entry: FileEntry) -> None:
            if self._there(entry):
                return
            view = content(entry)
            self.sending.before(len(view))
            self._publishing.put_data(entry, view)
            self.moved.count("sent", len(view))

        for_each(bring, files, SMALL_AT_ONCE, self.stop)

    def bring_pack(self, pack: Pack, content: Callable[[FileEntry], memoryview]) -> None:
        """Put the files of a pack, and the pack."""
        packer = Packer(self._publishing, content, self.moved, self.sending.before, self.stop)
        data = packer.assemble(pack)
        if data is not None:
            self.pack_bytes += packer.put(pack, data)

    def end_packs(self, index: PackIndex) -> None:
        """All packs are there."""
        self.packs = len(index.packs)
        self._publishing.put_packs(index)

    def prepare(self, source: Source, entry: FileEntry) -> FileOnItsWay | None:
        """What has to be done for a large file; None if nothing has."""
        if self._there(entry):
            return None
        staging = self._staging
        if staging is not None and entry.size >= staging.from_bytes:
            return StagedFile(self._publishing, staging, self.sending, source, entry)
        return WholeFile(self._publishing, self.sending, source, entry, in_memory=staging is not None)

    def start(self, file: FileOnItsWay, feed: Feed, pieces: Sequence[Piece], done: Callable[[], None]) -> None:
        """Send a file when its turn comes, and put it in its place; `done` is told, whatever became of it."""
        file.start(feed, pieces, self._senders)
        self._files.append(file)
        self._ends.append(self._closers.submit(self._finish_file, file, done))

    def finish(
        self, manifest: Manifest, documents: Sequence[bytes], signatures: Sequence[bytes], tags: Sequence[str]
    ) -> None:
        """Wait for all files, make the version exist, bring its signatures, then move the tags.

        Raises Conflict, and what a storage may.
        """
        for end in self._ends:
            end.result()
        if self.error is not None:
            return
        if self.passing and not self.already:
            self.passing.commit()
        elif not self.already:
            for blob in documents:
                self._publishing.put_blob(blob)
            self._publishing.commit(manifest)
        self.signatures = carry_signatures(signatures, self.storage, self.version, manifest.digest)
        warn_unless_signed(self.storage, self.version, manifest)
        for tag in tags:
            self.storage.set_tag(Tag(self.version.name, tag, self.version.label, manifest.digest), note="copy")
            self.tags += (tag,)

    def close(self) -> None:
        """Let go of everything; what is under way ends."""
        self.stop.set()
        for file in self._files:
            with suppress(HoistError):
                file.give_up()
        self._senders.shutdown(cancel_futures=True)
        self._closers.shutdown(cancel_futures=True)

    @property
    def _publishing(self) -> Publication:
        assert self._publication
        return self._publication

    def _there(self, entry: FileEntry) -> bool:
        """Whether the target has a file, or has it now from another version."""
        if entry.link and self._publishing.link(entry):
            self.moved.count("copied", entry.size)
        elif self._publishing.has(entry):
            self.moved.count("resumed", entry.size)
        elif self._publishing.adopt(entry):
            self.moved.count("copied", entry.size)
        else:
            return False
        return True

    def _finish_file(self, file: FileOnItsWay, done: Callable[[], None]) -> None:
        try:
            file.finish()
        except Cancelled as error:
            # The first error says why.
            self.fail(error)
        except HoistError as error:
            self.fail(error)
        except BaseException:
            self.stop.set()
            raise
        finally:
            if self.stop.is_set():
                with suppress(HoistError):
                    file.give_up()
            done()
