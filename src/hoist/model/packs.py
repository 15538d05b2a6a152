"""Packs: small files of a version laid one behind the other, so that a few requests bring them all. Pure.

Packs are beside the version, not part of it: the manifest does not name them, the plain files stay, and every byte that is
read from a pack is checked against the version's block table. So a pack that is missing, damaged or lies costs time, and
nothing else. The pack index says what lies where:

    magic     8 bytes   b"HOISTPK\\x01"
    manifest  32 bytes  SHA-256 of the version's manifest
    packs     u32       how many; then for each:
      files     u32       how many, at least one; then
      places    u32 each  of each file: its number in the manifest, from 0
      offsets   u32 each  of each file: where it begins in the pack

All integers are little-endian. Places ascend through the whole index, offsets ascend in a pack; a file begins less
than 4,096 bytes behind the end of the one before it, and what lies between is zeros. Of files of equal content the
first is there.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from hoist.errors import InvalidManifest
from hoist.model.manifest import FileEntry, Manifest

MAGIC = b"HOISTPK\x01"
PACK_BELOW = 256 << 10
"""Files below this size are packed, where a storage is better off with packs and nobody says otherwise."""
MOST_PACK_BELOW = 4 << 20
"""Larger files are never packed: a request for one is well spent."""
FEWEST_FILES = 16
"""Fewer small files are not packed: the index and the pack are requests too."""
ALIGNMENT = 4096
_ALIGNED_FROM = 64 << 10
# A pack ends behind a file that its own digest chooses, once it has this size; on average at twice of it.
_SMALLEST = 8 << 20
_LARGEST = 32 << 20
MAX_PACK_BYTES = 64 << 20
_COUNT = struct.Struct("<I")
_HEAD = struct.Struct("<8s32sI")


@dataclass(frozen=True)
class Pack:
    """One pack: its files in order, each with its place in the manifest and its offset in the pack."""

    files: tuple[FileEntry, ...]
    places: array[int]
    offsets: array[int]

    @property
    def size(self) -> int:
        """Bytes of the pack."""
        return self.offsets[-1] + self.files[-1].size

    @cached_property
    def digest(self) -> str:
        """`sha256:HEX` of its table of contents: packs of this digest hold the same bytes, in any version."""
        listed = hashlib.sha256(MAGIC)
        for offset, file in zip(self.offsets, self.files, strict=True):
            listed.update(bytes.fromhex(file.digest.removeprefix("sha256:")) + _COUNT.pack(offset))
            listed.update(file.size.to_bytes(8, "little"))
        return "sha256:" + listed.hexdigest()


@dataclass(frozen=True)
class PackIndex:
    """The packs of the version whose manifest has this digest."""

    manifest_digest: str
    packs: tuple[Pack, ...]

    def to_bytes(self) -> bytes:
        """The index's one encoding."""
        parts = [_HEAD.pack(MAGIC, _raw(self.manifest_digest), len(self.packs))]
        for pack in self.packs:
            parts += (_COUNT.pack(len(pack.files)), _little(pack.places).tobytes(), _little(pack.offsets).tobytes())
        return b"".join(parts)

    @staticmethod
    def parse(data: bytes, manifest: Manifest) -> PackIndex:
        """Read an index. Raises InvalidManifest unless `data` is exactly the encoding of one for this manifest."""
        try:
            return PackIndex(manifest.digest, tuple(_parse(memoryview(data), manifest)))
        except struct.error:
            raise InvalidManifest("the pack index is truncated") from None


def may_have_packs(manifest: Manifest) -> bool:
    """Whether it is worth a request to ask for a version's packs."""
    return sum(0 < file.size < MOST_PACK_BELOW for file in manifest.files) >= FEWEST_FILES


def most_index_bytes(manifest: Manifest) -> int:
    """No index of this version is larger."""
    return _HEAD.size + 12 * len(manifest.files)


def lay_out(manifest: Manifest, below: int) -> PackIndex:
    """The packs of a version's files below so many bytes, in order of path; none if they are too few.

    Where a pack ends depends on the files beside that place alone, so that a version that differs from another in few files
    shares most of its packs.
    """
    packs: list[Pack] = []
    chosen = list(_chosen(manifest, min(below, MOST_PACK_BELOW)))
    begin = size = 0
    for at, (_, file) in enumerate(chosen):
        offset = _aligned(size, file.size)
        if at > begin and offset + file.size > _LARGEST:
            packs.append(_pack(chosen[begin:at]))
            begin, offset = at, 0
        size = offset + file.size
        if size >= _SMALLEST and _is_edge(file):
            packs.append(_pack(chosen[begin : at + 1]))
            begin, size = at + 1, 0
    if begin < len(chosen):
        packs.append(_pack(chosen[begin:]))
    return PackIndex(manifest.digest, tuple(packs if len(chosen) >= FEWEST_FILES else ()))


def _chosen(manifest: Manifest, below: int) -> Iterator[tuple[int, FileEntry]]:
    seen = set()
    for place, file in enumerate(manifest.files):
        if 0 < file.size < below and file.digest not in seen:
            seen.add(file.digest)
            yield place, file


def _aligned(offset: int, size: int) -> int:
    """Where a file may begin: one that is large enough for it to matter, on a page of its own."""
    return -(-offset // ALIGNMENT) * ALIGNMENT if size >= _ALIGNED_FROM else offset


def _is_edge(file: FileEntry) -> bool:
    """Whether a file's digest says that a pack ends behind it: of so many bytes one does on average."""
    return int(file.digest.removeprefix("sha256:")[:16], 16) * _SMALLEST < file.size << 64


def _pack(chosen: Iterable[tuple[int, FileEntry]]) -> Pack:
    places, offsets, files = array("I"), array("I"), []
    end = 0
    for place, file in chosen:
        offset = _aligned(end, file.size)
        places.append(place)
        offsets.append(offset)
        files.append(file)
        end = offset + file.size
    return Pack(tuple(files), places, offsets)


def _parse(view: memoryview, manifest: Manifest) -> Iterator[Pack]:
    magic, digest, count = _HEAD.unpack_from(view)
    if magic != MAGIC:
        raise InvalidManifest("the pack index has another format or a newer version")
    if digest != _raw(manifest.digest):
        raise InvalidManifest("the pack index is another version's")
    at, last = _HEAD.size, -1
    seen: set[str] = set()
    for _ in range(count):
        (files,) = _COUNT.unpack_from(view, at)
        at += _COUNT.size
        if not 0 < files <= (len(view) - at) // 8:
            raise InvalidManifest("the pack index is truncated, or has an empty pack")
        places = _little(array("I", bytes(view[at : at + 4 * files])))
        offsets = _little(array("I", bytes(view[at + 4 * files : at + 8 * files])))
        at += 8 * files
        pack = _checked(places, offsets, last, manifest)
        last = places[-1]
        if not seen.isdisjoint(digests := {file.digest for file in pack.files}) or len(digests) != files:
            raise InvalidManifest("the pack index has one content twice")
        seen |= digests
        yield pack
    if at != len(view):
        raise InvalidManifest("the pack index has bytes behind its end")


def _checked(places: array[int], offsets: array[int], last: int, manifest: Manifest) -> Pack:
    files = []
    end = 0
    for place, offset in zip(places, offsets, strict=True):
        if not last < place < len(manifest.files):
            raise InvalidManifest("the pack index is not in order, or names a file that the version does not have")
        last, file = place, manifest.files[place]
        if (
            not 0 < file.size < MOST_PACK_BELOW
            or not 0 <= offset - end < ALIGNMENT
            or offset + file.size > MAX_PACK_BYTES
        ):
            raise InvalidManifest(f"the pack index has no place for {file.path!r} at byte {offset}")
        files.append(file)
        end = offset + file.size
    if offsets[0]:
        raise InvalidManifest("the pack index has a pack that begins with nothing")
    return Pack(tuple(files), places, offsets)


def _raw(digest: str) -> bytes:
    return bytes.fromhex(digest.removeprefix("sha256:"))


def _little(values: array[int]) -> array[int]:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values
