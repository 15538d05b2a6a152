"""Layers that another tool compressed: gzip and zstd, inflated bit by bit, never further than they may go."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO, Literal, cast

from hoist.errors import Damaged, LocalError, StorageUnsupported

Compression = Literal["", "gzip", "zstd"]
_STEP_BYTES = 1 << 20
# What a zstd frame may ask for: the format's own command line refuses more, too.
_MOST_WINDOW_BYTES = 128 << 20


def compression_of(media_type: str) -> Compression:
    """How a layer of this media type is compressed; empty: it is a plain tar. Raises StorageUnsupported."""
    if media_type.endswith((".tar", ".tar+none")):
        return ""
    if media_type.endswith(("+gzip", ".tar.gzip")):
        return "gzip"
    if media_type.endswith(("+zstd", ".tar.zstd")):
        return "zstd"
    raise StorageUnsupported(f"a layer of the type {media_type!r} cannot be read: it is no tar, gzip or zstd")


def inflate(slices: Iterator[memoryview], how: Compression, most: int) -> Iterator[bytes | memoryview]:
    """The content of compressed slices, in pieces of 1 MiB at most.

    Raises Damaged if it is malformed, or has more than `most` bytes; LocalError if this machine has no zstd.
    """
    pieces: Iterator[bytes | memoryview] = slices
    if how == "gzip":
        pieces = _gunzip(slices)
    elif how == "zstd":
        pieces = _unzstd(slices)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > most:
            raise Damaged(f"a layer holds more than the {most} bytes that it should have")
        yield piece


def _gunzip(slices: Iterator[memoryview]) -> Iterator[bytes]:
    stream, begun = zlib.decompressobj(31), False
    try:
        for view in slices:
            data: bytes | memoryview = view
            while True:
                begun = begun or bool(data)
                piece = stream.decompress(data, _STEP_BYTES)
                if piece:
                    yield piece
                if stream.eof:
                    # A layer may be several streams, one behind the other.
                    data, stream, begun = stream.unused_data, zlib.decompressobj(31), False
                    if not data:
                        break
                else:
                    data = stream.unconsumed_tail
                    if not data and len(piece) < _STEP_BYTES:
                        break
    except zlib.error as error:
        raise Damaged(f"a layer is no gzip stream: {error}") from None
    if begun:
        raise Damaged("a layer is cut off: its gzip stream has no end")


def _unzstd(slices: Iterator[memoryview]) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise LocalError("a layer is compressed with zstd: pip install 'hoist[zstd]' to read it") from None
    source = _Source(slices)
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(cast("IO[bytes]", source), read_across_frames=True) as reader:
            while piece := reader.read(_STEP_BYTES):
                yield piece
    except zstandard.ZstdError as error:
        raise Damaged(f"a layer is no zstd stream: {error}") from None


class _Source:
    """Slices as the file that a decompressor reads."""

    def __init__(self, slices: Iterator[memoryview]) -> None:
        self._slices = slices
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """Some bytes; none at the end."""
        while not self._rest:
            following = next(self._slices, None)
            if following is None:
                return b""
            self._rest = following
        size = len(self._rest) if size < 0 else size
        found, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return found
