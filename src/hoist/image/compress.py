"""Layers compressed with zstd, for who is bound by the network: never by gzip, which is slower than any network worth it.

A registry wants a blob's size before its bytes. So a layer is compressed twice: once to know its size and digest, and once
more while it is sent; nothing of it is kept here in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from hoist.errors import LocalError, UsageError
from hoist.storage.oci.repositories import Chunks, slices

KINDS = ("none", "zstd")
_LEVEL = 3


def way_of(kind: str) -> str:
    """How layers are compressed, in words that change whenever the bytes may; empty for not at all.

    Raises UsageError, LocalError with the mend where the library is missing.
    """
    if kind == "none":
        return ""
    if kind != "zstd":
        raise UsageError(f"--compress takes {' or '.join(KINDS)}, not {kind!r}: weights do not get smaller with gzip")
    library = _library()
    return f"zstd-{_LEVEL}-{'.'.join(map(str, library.ZSTD_VERSION))}"


def compressed(chunks: Chunks) -> Chunks:
    """The same bytes, compressed; the same each time."""

    def squeezed(offset: int) -> Iterator[memoryview]:
        compressor = (
            _library().ZstdCompressor(level=_LEVEL, write_checksum=False, write_content_size=False).compressobj()
        )
        skip = offset
        for piece in _pieces(compressor, chunks(0)):
            view = memoryview(piece)
            dropped = min(skip, len(view))
            skip -= dropped
            yield from slices(view, dropped)

    return squeezed


def measured(chunks: Chunks) -> tuple[str, int, str]:
    """The digest and size of a stream once it is compressed, and its digest before."""
    plain, squeezed, size = hashlib.sha256(), hashlib.sha256(), 0

    def watched(offset: int) -> Iterator[memoryview]:
        for piece in chunks(offset):
            plain.update(piece)
            yield piece

    for piece in compressed(watched)(0):
        squeezed.update(piece)
        size += len(piece)
    return f"sha256:{squeezed.hexdigest()}", size, f"sha256:{plain.hexdigest()}"


def _pieces(compressor: Any, slices: Iterator[memoryview]) -> Iterator[bytes]:
    for piece in slices:
        yield compressor.compress(piece)
    yield compressor.flush()


def _library() -> Any:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise LocalError("zstd layers need the library zstandard: pip install 'hoist[zstd]'") from None
    return zstandard
