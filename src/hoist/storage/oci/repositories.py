"""What a place of OCI content does: the one interface over a registry, a layout folder and an archive.

A repository is a name such as `models/sd15/anything`. It holds blobs, known by their digests alone, manifests, known by
their digests, and tags, each of which names a manifest. Whoever implements this checks every digest on the way, but for
`read_into`: a range cannot be checked by the digest of the whole. All methods may be called from several threads at
once, and raise only HoistErrors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from hoist.model.image.descriptor import Descriptor
from hoist.model.manifest import digest_of
from hoist.storage.base import OnBytes

__all__ = ["MAX_MANIFEST_BYTES", "Chunks", "Descriptor", "Document", "Repositories"]

MAX_MANIFEST_BYTES = 4 << 20
"""Larger ones are refused, by registries too: the distribution specification asks for 4 MiB."""

Chunks = Callable[[int], Iterator[memoryview]]
"""Gives a blob's bytes from an offset on, slice by slice; asked anew each time that they are sent. A slice is valid only
until the next one is asked for."""


SLICE_BYTES = 1 << 20


def slices(data: bytes | memoryview, offset: int = 0) -> Iterator[memoryview]:
    """Bytes in memory from an offset on, in slices of 1 MiB at most."""
    view = memoryview(data)
    for at in range(offset, len(view), SLICE_BYTES):
        yield view[at : at + SLICE_BYTES]


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest as it was stored: its exact bytes, their digest `sha256:HEX`, and its media type."""

    data: bytes = field(repr=False)
    digest: str
    media_type: str


class Repositories(Protocol):
    """A place of OCI content."""

    address: str
    """How the user named it, for messages; holds no secret."""

    def repositories(self, prefix: str) -> Iterator[str]:
        """The names of all repositories that are `prefix` or below it (empty: all), in order.

        Raises StorageUnsupported where they cannot be listed, PermissionDenied.
        """

    def tags(self, repository: str) -> Sequence[str]:
        """All tags of a repository, in order; none if there is no such repository."""

    def manifest(self, repository: str, reference: str) -> Document:
        """The manifest under a tag or a digest, checked. Raises FileNotFound, Damaged."""

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        """Store a manifest under a tag or its own digest, atomically. Raises Damaged if a blob that it names is missing."""

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest and every tag that names it. Raises FileNotFound, StorageUnsupported with the mend."""

    def untag(self, repository: str, tag: str) -> None:
        """Remove one tag, and leave its manifest with the others that it has. Raises FileNotFound, StorageUnsupported."""

    def referrers(self, repository: str, digest: str) -> Sequence[Descriptor]:
        """The manifests whose subject is this one: signatures, attestations. None where a registry knows no referrers."""

    def blob_size(self, repository: str, digest: str) -> int | None:
        """How large a blob of the repository is; None if it has none of this digest."""

    def read_blob(self, repository: str, digest: str, most: int) -> bytes:
        """A small blob whole, checked. Raises FileNotFound, Damaged if it is another or has more than `most` bytes."""

    def read_into(self, repository: str, digest: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with a blob's bytes from `offset`, not checked; see Storage.read_into."""

    def stream_blob(self, repository: str, digest: str, size: int) -> AbstractContextManager[Iterator[memoryview]]:
        """A blob in order, in slices of 1 MiB at most, each valid until the next; what is cut off is asked for again.

        Raises FileNotFound, and Damaged after the last slice if the blob is another: use nothing before the end.
        """

    def put_blob(
        self, repository: str, digest: str | None, size: int, chunks: Chunks, on_bytes: OnBytes, resume: str = ""
    ) -> str:
        """Store a blob of `size` bytes, and return its digest; `digest` None: it is made from the bytes as they are sent.

        A blob that is there already is not sent (nor asked for, with no digest). `resume` names the content for this
        host's notes (such as a file's digest and path): an upload that was killed goes on where it stopped. Raises
        Damaged if the bytes have another digest than `digest`, and what `chunks` raises.
        """

    def restore_blob(self, repository: str, digest: str, size: int, chunks: Chunks) -> None:
        """Store a blob whose bytes are damaged or gone, atomically. Raises Damaged if the bytes have another digest, and
        StorageUnsupported with the mend where nothing is written over what is believed to be there."""

    def mount_blob(self, repository: str, digest: str, size: int, source: str) -> bool:
        """Make a blob of the repository `source` one of `repository` too, moving no bytes; False if that cannot be."""

    def known_holders(self, digest: str) -> Sequence[str]:
        """Repositories of this place where this host has put or found a blob of this digest before."""

    def first_byte_seconds(self) -> float | None:
        """How long the first byte of a ranged read usually takes, of late; None where that is not known."""

    def close(self) -> None:
        """Release connections."""


def put_small(place: Repositories, repository: str, data: bytes) -> str:
    """Store a small blob, and return its digest."""
    return place.put_blob(
        repository, digest_of(data), len(data), lambda offset: slices(data, offset), lambda count: None
    )
