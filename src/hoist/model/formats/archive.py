"""The zip archive that `torch.save` writes: where each stored entry's bytes lie.

The directory is read by the standard library; entries must be stored, not compressed, as torch writes them, because
only then is a tensor a plain byte range of the file.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

from hoist.errors import InvalidFile
from hoist.memory import no_collection

ZIP_MAGIC = b"PK\x03\x04"
PICKLE_MAGIC = b"\x80"
# The pickle that describes a checkpoint's tensors; real ones have a few MB.
MAX_PICKLE_BYTES = 256 << 20
_LOCAL = struct.Struct("<4s5H3I2H")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: `header` is where its local header starts, `size` its bytes; the data follow the header."""

    name: str
    header: int
    size: int


@dataclass(frozen=True)
class Archive:
    """A checkpoint's entries by their names below the archive's one folder (`data.pkl`, `data/0`, ...)."""

    entries: Mapping[str, Entry]

    def entry(self, name: str) -> Entry:
        """One entry. Raises InvalidFile if there is none."""
        try:
            return self.entries[name]
        except KeyError:
            raise InvalidFile(f"the checkpoint has no entry {name!r}: it is truncated or not torch's") from None


@no_collection()
def read_archive(file: IO[bytes], size: int) -> Archive:
    """Read the directory of a checkpoint of `size` bytes. Raises InvalidFile if it is not one that torch wrote."""
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, struct.error) as error:
        raise InvalidFile(f"truncated or malformed zip checkpoint: {error}") from None
    entries: dict[str, Entry] = {}
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise InvalidFile(
                f"checkpoint entry {info.filename!r} is compressed: save it again with torch.save, uncompressed"
            )
        if info.flag_bits & 1:
            raise InvalidFile(f"checkpoint entry {info.filename!r} is encrypted")
        if not 0 <= info.header_offset <= info.header_offset + info.file_size + _LOCAL.size <= size:
            raise InvalidFile(f"lying zip checkpoint: entry {info.filename!r} lies outside the file")
        name = info.filename.partition("/")[2]
        if name in entries:
            raise InvalidFile(f"lying zip checkpoint: entry {info.filename!r} stands twice")
        entries[name] = Entry(name, info.header_offset, info.file_size)
    by_place = sorted(entries.values(), key=lambda entry: entry.header)
    for entry, following in pairwise(by_place):
        if entry.header + _LOCAL.size + entry.size > following.header:
            raise InvalidFile(f"lying zip checkpoint: entry {entry.name!r} overlaps {following.name!r}")
    if "data.pkl" not in entries:
        raise InvalidFile("not a torch checkpoint: the zip archive has no data.pkl")
    if entries["data.pkl"].size > MAX_PICKLE_BYTES:
        raise InvalidFile(f"the checkpoint's data.pkl has over {MAX_PICKLE_BYTES} bytes: tensors belong outside it")
    return Archive(entries)


def data_range(entry: Entry, read: Callable[[int, int], bytes], size: int) -> tuple[int, int]:
    """The half-open byte range of an entry's data. `read(begin, end)` gives bytes of the file.

    The local header is asked, not the directory: torch pads it so that data are aligned. Raises InvalidFile.
    """
    header = read(entry.header, entry.header + _LOCAL.size)
    if len(header) != _LOCAL.size or header[:4] != ZIP_MAGIC:
        raise InvalidFile(f"lying zip checkpoint: entry {entry.name!r} is not where the directory says")
    fields = _LOCAL.unpack(header)
    begin = entry.header + _LOCAL.size + fields[9] + fields[10]
    if begin + entry.size > size:
        raise InvalidFile(f"truncated zip checkpoint: entry {entry.name!r} ends behind the file")
    return begin, begin + entry.size
