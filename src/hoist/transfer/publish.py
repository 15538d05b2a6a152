"""Publishing: a file or folder becomes an immutable version. Files first, the manifest last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock

from hoist.errors import Cancelled, InvalidReference, LocalError, VersionNotFound
from hoist.model.blocks import BlockTable
from hoist.model.manifest import Manifest
from hoist.model.reference import DEFAULT_LABEL, Reference
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.storage.base import Publication, Storage, Tag, Version
from hoist.transfer.scan import DEFAULT_EXCLUDE, ScannedFile, find_files, scan_file

_FILES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did: bytes sent, bytes that an earlier run had sent, bytes copied inside the storage."""

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


@dataclass(frozen=True, slots=True)
class Options:
    """How to publish: tags to set afterwards, patterns to leave out, and see `Storage.begin` and `scan_file`."""

    tags: Sequence[str] = ()
    exclude: Sequence[str] = DEFAULT_EXCLUDE
    replace_unfinished: bool = False
    checked: bool = True


def publish_version(
    source: Path, storage: Storage, reference: Reference, options: Options, progress: Progress
) -> Published:
    """Publish `source` as the version that `reference` names. Running it again resumes, or finds it done.

    Raises InvalidReference, FileNotFound, InvalidFile, LocalError, Conflict, and what a storage may.
    """
    version = _version(reference)
    began = time.monotonic()
    scanned = _scan(source, options, progress)
    table = BlockTable.build(item.blocks for item in scanned).to_bytes()
    manifest, config = Manifest.build((item.entry for item in scanned), table)
    already = _is_there(storage, version, manifest)
    moved = _Moved()
    exclusive = True
    if not already:
        publication = storage.begin(version, manifest.digest, replace_unfinished=options.replace_unfinished)
        exclusive = storage.exclusive()
        progress.begin(f"publishing to {storage.address}", manifest.size)
        _put_files(publication, scanned, moved, progress)
        for blob in (config, table):
            publication.put_blob(blob)
        publication.commit(manifest)
        progress.end()
    for tag in options.tags:
        storage.set_tag(Tag(version.name, tag, version.label, manifest.digest))
    return Published(
        version=version,
        digest=manifest.digest,
        files=len(manifest.files),
        size=manifest.size,
        sent_bytes=moved.sent,
        resumed_bytes=moved.resumed,
        copied_bytes=moved.copied,
        seconds=time.monotonic() - began,
        already=already,
        exclusive=exclusive,
    )


@dataclass(slots=True)
class _Moved:
    sent: int = 0
    resumed: int = 0
    copied: int = 0


def _version(reference: Reference) -> Version:
    if reference.label is None:
        raise InvalidReference(f"{reference} names a digest: publish needs a label, as in {reference.name}:v1")
    if reference.label == DEFAULT_LABEL:
        raise InvalidReference(
            f"publish needs a version, as in {reference.name}:v1; '{DEFAULT_LABEL}' is a tag: add --tag {DEFAULT_LABEL}"
        )
    return Version(reference.name, reference.label)


def _scan(source: Path, options: Options, progress: Progress) -> list[ScannedFile]:
    files = find_files(source, (*DEFAULT_EXCLUDE, *options.exclude))
    progress.begin(f"reading {source.name}", sum(file.size for file in files))
    scanned = [scan_file(file, progress.advance, checked=options.checked) for file in files]
    progress.end()
    return scanned


def _is_there(storage: Storage, version: Version, manifest: Manifest) -> bool:
    try:
        return storage.read_manifest(version) == manifest.data
    except VersionNotFound:
        return False


def _put_files(publication: Publication, scanned: list[ScannedFile], moved: _Moved, progress: Progress) -> None:
    lock = Lock()
    stop = Event()

    def check(item: ScannedFile) -> None:
        if not item.file.unchanged():
            raise LocalError(f"{item.file.source} changed while it was published: run the publish again")

    def put(item: ScannedFile) -> None:
        entry = item.entry

        def count(sent: int) -> None:
            if stop.is_set():
                raise Cancelled("the publish was cancelled")
            # Asked before the storage keeps the file, so that a wrong one is not there to be resumed with.
            check(item)
            progress.advance(sent)

        if publication.has(entry):
            how = "resumed"
        elif publication.adopt(entry):
            how = "copied"
        else:
            how = "sent"
            publication.put_file(entry, item.file.source, count)
            check(item)
        if how != "sent":
            progress.advance(entry.size)
        with lock:
            setattr(moved, how, getattr(moved, how) + entry.size)

    for_each(put, scanned, _FILES_AT_ONCE, stop)
