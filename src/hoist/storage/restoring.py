"""Writing over a file of a version that is there, when its bytes are damaged or gone: atomically, and only while it is that
version's.

A version never changes: what is written is what its manifest says, so whoever reads meanwhile gets the damaged file or the
right one, and two who restore at once do the same. One that is killed leaves the file as it was, and beside it what
`hoist collect` finds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Event
from uuid import uuid4

from hoist.errors import Conflict, FileNotFound, HoistError, InvalidManifest, StorageUnavailable
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.parallel import for_each
from hoist.retry import retrying
from hoist.storage import layout
from hoist.storage.base import Content, Version
from hoist.storage.claim import Claimant
from hoist.storage.objects import Objects, exists
from hoist.storage.staging import BeginAnew, Part, Staged

_SLICE_BYTES = 8 << 20
_IN_MEMORY = 16 << 20
_PARTS_AT_ONCE = 4
_ATTEMPTS = 3
_RETRY_SECONDS = 60.0
# What holds a label while a file that came too late is taken away again: no content has this digest.
_RESTORER = "restore"
_WAITS = (0.05, 0.2, 0.8)


def restore_file(objects: Objects, version: Version, entry: FileEntry, content: Content) -> None:
    """See Storage.restore_file."""
    key = layout.file_key(version, entry.path)
    _require(objects, version, entry)
    if entry.link and objects.symlink(key, entry.link):
        _settle(objects, version, entry, key)
        return
    staged_from = objects.staged_from
    if staged_from is not None and entry.size >= staged_from:
        _stage(objects, version, entry, content)
    elif entry.size <= _IN_MEMORY:
        data = bytearray(entry.size)
        if data:
            content(0, memoryview(data))
        _require(objects, version, entry)
        objects.put(key, memoryview(data))
    else:
        _spool(objects, version, entry, content)
    _settle(objects, version, entry, key)


def restore_from(objects: Objects, version: Version, entry: FileEntry, source: str) -> bool:
    """See Storage.restore_from; `source` is the key of the file that is right."""
    key = layout.file_key(version, entry.path)
    _require(objects, version, entry)
    try:
        if not objects.copy_over(source, key):
            return False
    except FileNotFound:
        return False
    _settle(objects, version, entry, key)
    return True


def restore_document(objects: Objects, version: Version, data: bytes) -> None:
    """See Storage.restore_document."""
    manifest = _manifest(objects, version)
    digest = digest_of(data)
    if digest not in (manifest.config.digest, manifest.blocks.digest):
        raise Conflict(f"{version} in {objects.address} has no document {digest}")
    objects.put(layout.blob_key(version, digest), data)


def restore_manifest(objects: Objects, version: Version, data: bytes) -> None:
    """See Storage.restore_manifest."""
    Manifest.parse(data)
    key = layout.manifest_key(version)
    try:
        found = objects.get(key)
    except FileNotFound:
        raise _gone(objects, version) from None
    with suppress(InvalidManifest):
        Manifest.parse(found.data)
        raise Conflict(f"{version} in {objects.address} has a manifest that can be read: it is left alone")
    if not objects.swap(key, data, found.stamp):
        raise Conflict(f"the manifest of {version} in {objects.address} was changed by somebody else just now")


def _stage(objects: Objects, version: Version, entry: FileEntry, content: Content) -> None:
    """Send it in parts that nobody sees, and place it."""
    key = layout.file_key(version, entry.path)
    for _ in range(_ATTEMPTS):
        # A name of its own: what another who restores the same file writes is not mixed with it.
        staged = objects.stage(key, entry.size, Path(f"/hoist-restore/{uuid4().hex}"), None)
        try:
            for_each(lambda part, into=staged: _put(into, part, content), _parts(entry.size, staged), _PARTS_AT_ONCE)  # type: ignore[misc]
            staged.complete()
            _require(objects, version, entry)
            if staged.place():
                staged.close()
                return
        except BeginAnew:
            _drop(staged)
        except BaseException:
            _drop(staged)
            raise
    raise StorageUnavailable(f"{key} in {objects.address}: what is sent of it keeps being taken away: run it again")


def _put(staged: Staged, part: Part, content: Content) -> None:
    memory = memoryview(bytearray(part.size))
    for at in range(0, part.size, _SLICE_BYTES):
        content(part.begin + at, memory[at : at + _SLICE_BYTES])

    def body() -> Iterator[memoryview]:
        for at in range(0, part.size, _SLICE_BYTES):
            yield memory[at : at + _SLICE_BYTES]

    retrying(lambda: staged.put(part, body), _RETRY_SECONDS, Event())


def _parts(size: int, staged: Staged) -> list[Part]:
    step = staged.limits.usual
    return [
        Part(number, begin, min(begin + step, size), b"") for number, begin in enumerate(range(0, size, step), start=1)
    ]


def _drop(staged: Staged) -> None:
    with suppress(HoistError):
        staged.discard()
    staged.close()


def _spool(objects: Objects, version: Version, entry: FileEntry, content: Content) -> None:
    """By way of a temporary file, where nothing can be sent that nobody sees."""
    from hoist.storage.spooled import spooled

    with spooled(entry.size, content) as source:
        _require(objects, version, entry)
        objects.put_file(layout.file_key(version, entry.path), source, entry.size, lambda count: None)


def _require(objects: Objects, version: Version, entry: FileEntry) -> None:
    """Raise Conflict unless the version is there and has this very file."""
    if _manifest(objects, version).by_path.get(entry.path) != entry:
        raise Conflict(f"{version} in {objects.address} is another version by now: nothing of it is restored")


@lru_cache(maxsize=2)
def _parsed(data: bytes) -> Manifest:
    """Of a version that lost all its files the same manifest is read again for each."""
    return Manifest.parse(data)


def _manifest(objects: Objects, version: Version) -> Manifest:
    try:
        return _parsed(objects.get(layout.manifest_key(version)).data)
    except FileNotFound:
        raise _gone(objects, version) from None


def _gone(objects: Objects, version: Version) -> Conflict:
    return Conflict(f"{version} was removed from {objects.address} meanwhile: nothing of it is restored")


def _settle(objects: Objects, version: Version, entry: FileEntry, key: str) -> None:
    """Look again: a file that came after its version was removed belongs to nobody, and would keep its label taken."""
    try:
        _require(objects, version, entry)
    except Conflict:
        claimant = Claimant(objects, version, _RESTORER)
        for wait in (*_WAITS, None):
            if claimant.seize(0.0):
                try:
                    if not exists(objects, layout.manifest_key(version)):
                        objects.delete([key])
                finally:
                    claimant.drop()
                break
            # The removal that took it away is at work still, or somebody publishes under the label.
            if wait is not None:
                time.sleep(wait)
        raise
