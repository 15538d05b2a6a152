"""Publishing: a file or folder becomes an immutable version. Files first, the manifest last.

A large file is sent while it is read and hashed, to where nobody sees it; when the digests of all files are known, the
label is claimed with that of the manifest, and the files are placed. Where that cannot be, or where it matters first
which content this is (the label is taken), files are read once to be hashed and once more to be sent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

from hoist.errors import Conflict, InvalidReference, VersionNotFound
from hoist.model.manifest import FileEntry, Manifest
from hoist.model.packs import PackIndex, lay_out
from hoist.model.reference import DEFAULT_LABEL, Reference
from hoist.pace import Pace, pace_of
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.signing.signer import Signer
from hoist.storage.base import OnBytes, Publication, Storage, Tag, Version
from hoist.transfer.moved import Moved
from hoist.transfer.pack import Packer, pack_limit, read_again
from hoist.transfer.put import Putter
from hoist.transfer.scan import DEFAULT_EXCLUDE, LocalFile, ScannedFile, documents, find_files, scan_file, scan_small
from hoist.transfer.sign import sign_version, warn_unless_signed
from hoist.transfer.stage import Stager

_FILES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did: bytes sent, bytes that an earlier run had sent, bytes copied inside the storage.

    `packs` hold the small files once more; `pack_bytes` were sent for them.
    """

    version: Version
    digest: str
    files: int
    size: int
    sent_bytes: int
    resumed_bytes: int
    copied_bytes: int
    seconds: float
    already: bool
    exclusive: bool
    packs: int = 0
    pack_bytes: int = 0
    signed_by: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """How to publish: who signs it, tags to set afterwards, patterns to leave out, and see `Storage.begin` and `scan_file`.

    `uploads` is the folder where this host notes what it has sent; `retry_seconds` how long a passing error is tried
    again. `pack_below`: files below this size are also laid into packs; 0: none are; None: as suits the storage.
    """

    tags: Sequence[str] = ()
    exclude: Sequence[str] = DEFAULT_EXCLUDE
    replace_unfinished: bool = False
    checked: bool = True
    uploads: Path | None = None
    retry_seconds: float = 60.0
    max_bandwidth: int | None = None
    pack_below: int | None = None
    signer: Signer | None = None


def publish_version(
    source: Path, storage: Storage, reference: Reference, options: Options, progress: Progress
) -> Published:
    """Publish `source` as the version that `reference` names. Running it again resumes, or finds it done.

    Raises InvalidReference, UsageError, FileNotFound, InvalidFile, LocalError, Conflict, and what a storage may.
    """
    version = _version(reference)
    began = time.monotonic()
    files = find_files(source, (*DEFAULT_EXCLUDE, *options.exclude))
    run = _Publish(storage, version, options, progress, files)
    try:
        manifest, already = run.run(source.name)
    except BaseException:
        run.putter.let_go()
        raise
    signed = sign_version(storage, version, manifest, options.signer) if options.signer else None
    if signed is None:
        warn_unless_signed(storage, version, manifest)
    for tag in options.tags:
        storage.set_tag(Tag(version.name, tag, version.label, manifest.digest), note="publish")
    return Published(
        version=version,
        digest=manifest.digest,
        files=len(manifest.files),
        size=manifest.size,
        sent_bytes=run.moved["sent"],
        resumed_bytes=run.moved["resumed"],
        copied_bytes=run.moved["copied"],
        seconds=time.monotonic() - began,
        already=already,
        exclusive=already or storage.exclusive(),
        packs=run.packs,
        pack_bytes=run.pack_bytes,
        signed_by=signed.by if signed else "",
    )


def _version(reference: Reference) -> Version:
    if reference.label is None:
        raise InvalidReference(f"{reference} names a digest: publish needs a label, as in {reference.name}:v1")
    if reference.label == DEFAULT_LABEL:
        raise InvalidReference(
            f"publish needs a version, as in {reference.name}:v1; '{DEFAULT_LABEL}' is a tag: add --tag {DEFAULT_LABEL}"
        )
    return Version(reference.name, reference.label)


@dataclass
class _Publish:
    """One publish under way."""

    storage: Storage
    version: Version
    options: Options
    progress: Progress
    files: list[LocalFile]
    stop: Event = field(default_factory=Event)
    began: bool = False
    packs: int = 0
    pack_bytes: int = 0

    def __post_init__(self) -> None:
        self.moved = Moved(self.progress)
        cap = self.options.max_bandwidth
        self.pace: Pace | None = pace_of(cap) if cap else None
        self.putter = Putter(self.moved, self.stop, self.options.retry_seconds, self.pace)
        self.pack_below = pack_limit(self.options.pack_below, self.storage, self.files)

    def run(self, name: str) -> tuple[Manifest, bool]:
        """Publish; the manifest, and whether it was there already."""
        options = self.options
        scanned = None
        if self.storage.occupied(self.version, replace_unfinished=options.replace_unfinished):
            scanned = self._scan(name)
            manifest = documents(scanned)[0]
            if self._is_there(manifest):
                if options.pack_below:
                    self._pack_anew(manifest, scanned)
                return manifest, True
        staging = self.storage.staging(self.version, [file.size for file in self.files], options.uploads)
        if staging is None:
            ahead = None if scanned else self.storage.begin_ahead(self.version)
            if ahead is not None:
                return self._publish_ahead(ahead), False
            return self._publish(scanned or self._scan(name), None), False
        with Stager(
            staging,
            self.moved,
            self.stop,
            checked=options.checked,
            retry_seconds=options.retry_seconds,
            pace=self.pace,
        ) as stager:
            if scanned is None:
                self._begin_sending()
                scanned = for_each(lambda file: self._take(file, stager), self.files, _FILES_AT_ONCE, self.stop)
            return self._publish(scanned, stager), False

    def _scan(self, name: str) -> list[ScannedFile]:
        self.progress.begin(f"reading {name}", sum(file.size for file in self.files))

        def advance(count: int) -> None:
            self.putter.unless_stopped(count)
            self.progress.advance(count)

        scanned = for_each(lambda file: self._scan_file(file, advance), self.files, _FILES_AT_ONCE, self.stop)
        self.progress.end()
        return scanned

    def _scan_file(self, file: LocalFile, on_bytes: OnBytes) -> ScannedFile:
        if file.size >= self.pack_below:
            return scan_file(file, on_bytes, checked=self.options.checked)
        scanned, data = scan_small(file, on_bytes, checked=self.options.checked)
        self.putter.kept.keep(file.path, data)
        return scanned

    def _begin_sending(self) -> None:
        self.began = True
        self.progress.begin(f"publishing to {self.storage.address}", sum(file.size for file in self.files))

    def _take(self, file: LocalFile, stager: Stager) -> ScannedFile:
        if not stager.wants(file):
            return self._scan_file(file, self.putter.unless_stopped)
        return self.putter.stage(file, stager)

    def _publish_ahead(self, publication: Publication) -> Manifest:
        """Send each file as soon as it is hashed, while the next one is."""
        self._begin_sending()
        publication.expect([FileEntry(file.path, file.size, "", file.link) for file in self.files])
        # One after the other, so that the first is sent soon; the two digests of each keep two cores busy.
        hashing = Lock()

        def take(file: LocalFile) -> ScannedFile:
            with hashing:
                item = self._scan_file(file, self.putter.unless_stopped)
            self.putter.put(publication, item, None)
            return item

        scanned = for_each(take, self.files, _FILES_AT_ONCE + 1, self.stop)
        manifest, config, table = documents(scanned)
        for blob in (config, table):
            publication.put_blob(blob)
        publication.commit(manifest)
        self.progress.end()
        return manifest

    def _publish(self, scanned: list[ScannedFile], stager: Stager | None) -> Manifest:
        manifest, config, table = documents(scanned)
        try:
            replace = self.options.replace_unfinished
            publication = self.storage.begin(self.version, manifest.digest, replace_unfinished=replace)
        except Conflict:
            self.putter.discard()
            raise
        if not self.began:
            self._begin_sending()
        publication.expect(manifest.files)
        index = lay_out(manifest, self.pack_below)
        packed = {file.path for pack in index.packs for file in pack.files}
        others = [item for item in scanned if item.entry.path not in packed]
        for_each(lambda item: self.putter.put(publication, item, stager), others, _FILES_AT_ONCE, self.stop)
        # Before the version exists: a publish that is killed here goes on with them.
        self._send_packs(publication, index, scanned, anew=False)
        for blob in (config, table):
            publication.put_blob(blob)
        publication.commit(manifest)
        self.progress.end()
        return manifest

    def _send_packs(self, publication: Publication, index: PackIndex, scanned: list[ScannedFile], anew: bool) -> None:
        items = {item.entry.path: item for item in scanned}

        def content(entry: FileEntry) -> bytes:
            return self.putter.kept.take(entry.path) or read_again(items[entry.path])

        packer = Packer(publication, content, self.moved, self.putter.before_sending, self.stop, anew=anew)
        self.packs, self.pack_bytes = len(index.packs), packer.send(index)

    def _pack_anew(self, manifest: Manifest, scanned: list[ScannedFile]) -> None:
        """Give the version that is there its packs: it may have none, others, or damaged ones."""
        index = lay_out(manifest, self.pack_below)
        if index.packs:
            publication = self.storage.begin(self.version, manifest.digest)
            self._begin_sending()
            self._send_packs(publication, index, scanned, anew=True)
            publication.commit(manifest)
            self.progress.end()

    def _is_there(self, manifest: Manifest) -> bool:
        try:
            return self.storage.read_manifest(self.version) == manifest.data
        except VersionNotFound:
            return False
