"""The block table: which byte ranges a version's files are verified in, and the digest of each.

A block's digest is its BLAKE3. The table is one small document, named by digest in the manifest, so that one
digest vouches for every block:

    magic    8 bytes   b"HOISTBK\\x01"
    files    u32       how many; then for each, in order of digest:
      digest   32 bytes  SHA-256 of the whole file
      size     u64       bytes
      blocks   u32       how many; then
      lengths  u32 each  bytes of each block, none 0, that sum to the size
      digests  32 bytes each

All integers are little-endian. There is exactly one encoding of a table, so equal files give equal digests.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from types import MappingProxyType

from blake3 import blake3

from hoist.errors import InvalidManifest

MAGIC = b"HOISTBK\x01"
DIGEST_BYTES = 32
MAX_BLOCK_BYTES = 64 << 20
_COUNT = struct.Struct("<I")
_FILE = struct.Struct("<32sQI")


def block_digest(data: bytes | bytearray | memoryview) -> bytes:
    """The 32-byte BLAKE3 of `data`; releases the interpreter lock for all but tiny data."""
    return blake3(data).digest()


@dataclass(frozen=True, slots=True)
class FileBlocks:
    """One file's blocks: `starts` holds each block's first offset and, last, the file's size."""

    file_digest: str
    starts: array[int]
    digests: bytes

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.starts[-1]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def span(self, index: int) -> tuple[int, int]:
        """The half-open byte range of block `index`."""
        return self.starts[index], self.starts[index + 1]

    def digest(self, index: int) -> bytes:
        """The 32-byte BLAKE3 of block `index`."""
        return self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]

    def covering(self, begin: int, end: int) -> range:
        """The blocks that hold the half-open byte range; none for an empty one."""
        if begin >= end:
            return range(0)
        return range(bisect_right(self.starts, begin) - 1, bisect_right(self.starts, end - 1))


@dataclass(frozen=True)
class BlockTable:
    """The blocks of every distinct file of a version, by the file's `sha256:HEX` digest."""

    files: Mapping[str, FileBlocks]

    @staticmethod
    def build(files: Iterable[FileBlocks]) -> BlockTable:
        """The table of `files`; of several with one digest the first counts."""
        found: dict[str, FileBlocks] = {}
        for file in files:
            found.setdefault(file.file_digest, file)
        return BlockTable(MappingProxyType(dict(sorted(found.items()))))

    def of(self, file_digest: str, size: int) -> FileBlocks:
        """The blocks of one file. Raises InvalidManifest if they are missing or have another size."""
        blocks = self.files.get(file_digest)
        if blocks is None or blocks.size != size:
            raise InvalidManifest(f"the block table does not match the manifest at file {file_digest}")
        return blocks

    def to_bytes(self) -> bytes:
        """The table's one encoding."""
        parts = [MAGIC, _COUNT.pack(len(self.files))]
        for blocks in self.files.values():
            starts = blocks.starts
            lengths = array("I", (b - a for a, b in pairwise(starts)))
            parts.append(_FILE.pack(_raw(blocks.file_digest), blocks.size, len(blocks)))
            parts += (little(lengths).tobytes(), blocks.digests)
        return b"".join(parts)

    @staticmethod
    def parse(data: bytes) -> BlockTable:
        """Read a table. Raises InvalidManifest unless `data` is exactly one table's encoding."""
        try:
            return _parse(memoryview(data))
        except (struct.error, ValueError):
            raise InvalidManifest("the block table is truncated or malformed") from None


def file_blocks(file_digest: str, lengths: Iterable[int], digests: Iterable[bytes]) -> FileBlocks:
    """The blocks of a file from the length in bytes and the digest of each, in order."""
    return FileBlocks(file_digest, array("Q", accumulate(lengths, initial=0)), b"".join(digests))


def _parse(view: memoryview) -> BlockTable:
    if view[: len(MAGIC)] != MAGIC:
        raise InvalidManifest("the block table has another format or a newer version: upgrade Hoist")
    at = len(MAGIC)
    (count,) = _COUNT.unpack_from(view, at)
    at += _COUNT.size
    files: dict[str, FileBlocks] = {}
    last = b""
    for _ in range(count):
        raw, size, blocks = _FILE.unpack_from(view, at)
        at += _FILE.size
        if raw <= last:
            raise InvalidManifest("the block table is not in order")
        last = raw
        need = blocks * (4 + DIGEST_BYTES)
        if len(view) - at < need:
            raise InvalidManifest("the block table is truncated")
        lengths = little(array("I", bytes(view[at : at + 4 * blocks])))
        digests = bytes(view[at + 4 * blocks : at + need])
        at += need
        if blocks and not 0 < min(lengths) <= max(lengths) <= MAX_BLOCK_BYTES:
            raise InvalidManifest(f"the block table has a block of no bytes or over {MAX_BLOCK_BYTES}")
        entry = file_blocks("sha256:" + raw.hex(), lengths, [digests])
        if entry.size != size:
            raise InvalidManifest("the block table's lengths do not sum to the file's size")
        files[entry.file_digest] = entry
    if at != len(view):
        raise InvalidManifest("the block table has bytes behind its end")
    return BlockTable(MappingProxyType(files))


def _raw(digest: str) -> bytes:
    return bytes.fromhex(digest.removeprefix("sha256:"))


def little(values: array[int]) -> array[int]:
    """The values as they are written: little-endian, whatever this machine is."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values
