"""Bringing blobs to where an image shall be, moving as few bytes as can be, and counting them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from hoist.config import Config
from hoist.image.places import Image
from hoist.memory import allocate
from hoist.model.image.descriptor import Descriptor
from hoist.pace import Pace, pace_of
from hoist.progress import Progress
from hoist.storage.oci.repositories import Chunks, Repositories, slices

_RANGE_BYTES = 16 << 20


@dataclass
class Tally:
    """Bytes of blobs by how they came: sent from here, mounted from another repository, or there already.

    `pace` holds blobs back that are passed on from elsewhere; what the engine reads it holds back itself.
    """

    progress: Progress = field(default_factory=Progress)
    pace: Pace | None = None
    sent: int = 0
    mounted: int = 0
    there: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def on_bytes(self, count: int) -> None:
        """So many were sent."""
        with self._lock:
            self.sent += count
        self.progress.advance(count)

    def passed_on(self, count: int) -> None:
        """So many were sent of a blob that lies elsewhere."""
        if self.pace and count > 0:
            self.pace.take(count)
        self.on_bytes(count)

    def spared(self, size: int, how: str) -> None:
        """A blob that needed no sending: `mounted` or `there`."""
        with self._lock:
            setattr(self, how, getattr(self, how) + size)
        self.progress.advance(size)


def new_tally(progress: Progress, config: Config) -> Tally:
    """A tally that keeps to the configured bandwidth."""
    cap = config.engine.max_bandwidth
    return Tally(progress, pace_of(cap) if cap else None)


def is_there(target: Image, digest: str, size: int, tally: Tally, near: str = "") -> bool:
    """Whether the target's repository has a blob, or could mount it: from `near`, or where this host knows of it."""
    if target.place.blob_size(target.repository, digest) == size:
        tally.spared(size, "there")
        return True
    candidates = [near] if near else []
    candidates += [each for each in target.place.known_holders(digest) if each not in (near, target.repository)]
    for holder in candidates:
        if target.place.mount_blob(target.repository, digest, size, holder):
            tally.spared(size, "mounted")
            return True
    return False


def bring_blob(source: Image, target: Image, blob: Descriptor, tally: Tally) -> None:
    """Have a blob of the source's repository in the target's: there, mounted, or streamed with no copy here."""
    near = source.repository if source.shares_place_with(target) else ""
    if near == target.repository and near and target.place.blob_size(near, blob.digest) == blob.size:
        tally.spared(blob.size, "there")
        return
    if is_there(target, blob.digest, blob.size, tally, near):
        return
    chunks = blob_chunks(source.place, source.repository, blob)
    target.place.put_blob(target.repository, blob.digest, blob.size, chunks, tally.passed_on, f"blob {blob.digest}")


def put_document(target: Image, data: bytes, digest: str, tally: Tally) -> None:
    """Store a small blob from memory."""
    if not is_there(target, digest, len(data), tally):
        target.place.put_blob(target.repository, digest, len(data), bytes_chunks(data), tally.on_bytes)


def bytes_chunks(data: bytes) -> Chunks:
    """Bytes in memory as `put_blob` wants them."""
    return partial(slices, data)


def blob_chunks(place: Repositories, repository: str, blob: Descriptor) -> Chunks:
    """A blob that lies elsewhere as `put_blob` wants it: checked while it is read, or by who takes it."""

    def chunks(offset: int) -> Iterator[memoryview]:
        if not offset:
            with place.stream_blob(repository, blob.digest, blob.size) as pieces:
                yield from pieces
            return
        # The middle of a blob has no digest of its own: `put_blob` checks the whole.
        buffer = memoryview(allocate(min(_RANGE_BYTES, blob.size)))
        for begin in range(offset, blob.size, _RANGE_BYTES):
            view = buffer[: min(_RANGE_BYTES, blob.size - begin)]
            place.read_into(repository, blob.digest, begin, view)
            yield from slices(view)

    return chunks
