"""The record beside a cached file: which of its blocks are here and verified. Pure.

    header   4,096 bytes: magic, boot, file digest, layout digest, size, blocks, checksum; at 512 the pin
    states   a byte a block: 0 absent, 1 verified, 2 verified before the machine was started anew
    lengths  u32 a block
    digests  32 bytes a block
    names    text: a line for each name that the file was seen under

All integers are little-endian. The layout digest covers lengths and digests, the checksum the header before it; a state
is written after its block's bytes were. Nothing is synced: `boot` says under which start of the kernel the states were
written, and under another one they are suspects until their blocks are hashed again.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, replace
from itertools import pairwise

from blake3 import blake3

from hoist.model.blocks import DIGEST_BYTES, MAX_BLOCK_BYTES, FileBlocks, file_blocks, little

MAGIC = b"HOISTHC\x01"
HEADER_BYTES = 4096
PIN_AT = 512
ABSENT, VERIFIED, SUSPECT = 0, 1, 2
_FIELDS = struct.Struct("<8s16s32s32sQI")
_CHECK_BYTES = 16
_PER_BLOCK = 1 + 4 + DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Header:
    """What a record says of its file; `boot` is the start of the kernel that vouches for the states."""

    boot: bytes
    file_digest: str
    layout: bytes
    size: int
    blocks: int

    @property
    def tables_at(self) -> int:
        """Where lengths and digests begin: behind the states."""
        return HEADER_BYTES + self.blocks

    @property
    def names_at(self) -> int:
        """Where the names begin."""
        return HEADER_BYTES + self.blocks * _PER_BLOCK

    def booted(self, boot: bytes) -> Header:
        """The same file's header under another start of the kernel."""
        return replace(self, boot=boot)

    def to_bytes(self) -> bytes:
        """The checksummed part of the header's encoding."""
        raw = bytes.fromhex(self.file_digest.removeprefix("sha256:"))
        fields = _FIELDS.pack(MAGIC, self.boot, raw, self.layout, self.size, self.blocks)
        return fields + blake3(fields).digest(_CHECK_BYTES)


def header_of(blocks: FileBlocks, boot: bytes) -> Header:
    """The header of a file's record."""
    return Header(boot, blocks.file_digest, layout_digest(blocks), blocks.size, len(blocks))


def new_record(blocks: FileBlocks, boot: bytes) -> bytes:
    """The whole record of a file of which nothing is here yet."""
    header = header_of(blocks, boot).to_bytes()
    return header.ljust(HEADER_BYTES + len(blocks), b"\0") + _tables(blocks)


def parse_header(data: bytes, record_bytes: int) -> Header | None:
    """The header at the start of a record of so many bytes; None if it is torn, foreign, or of another version."""
    end = _FIELDS.size + _CHECK_BYTES
    if len(data) < end or blake3(data[: _FIELDS.size]).digest(_CHECK_BYTES) != data[_FIELDS.size : end]:
        return None
    magic, boot, raw, layout, size, blocks = _FIELDS.unpack_from(data)
    header = Header(boot, "sha256:" + raw.hex(), layout, size, blocks)
    return header if magic == MAGIC and record_bytes >= header.names_at else None


def parse_tables(header: Header, data: bytes) -> FileBlocks | None:
    """The blocks that a record's tables describe; None if they are not those that its header means."""
    lengths_end = 4 * header.blocks
    if len(data) != header.names_at - header.tables_at:
        return None
    lengths = little(array("I", data[:lengths_end]))
    if header.blocks and not 0 < min(lengths) <= max(lengths) <= MAX_BLOCK_BYTES:
        return None
    blocks = file_blocks(header.file_digest, lengths, [data[lengths_end:]])
    return blocks if blocks.size == header.size and layout_digest(blocks) == header.layout else None


def layout_digest(blocks: FileBlocks) -> bytes:
    """What tells one cut of a file into blocks from another."""
    return blake3(_tables(blocks)).digest()


def entry_name(blocks: FileBlocks) -> str:
    """What the files of a cached file are called, but for their endings."""
    return f"{blocks.file_digest.removeprefix('sha256:')}-{layout_digest(blocks).hex()[:16]}"


def parse_names(data: bytes) -> tuple[str, ...]:
    """The names that a file was seen under; a line that was cut off by a crash is left out."""
    lines = data.split(b"\n")[:-1]
    return tuple(dict.fromkeys(line.decode(errors="replace") for line in lines if line.strip(b"\0")))


def _tables(blocks: FileBlocks) -> bytes:
    lengths = array("I", (end - begin for begin, end in pairwise(blocks.starts)))
    return little(lengths).tobytes() + blocks.digests
