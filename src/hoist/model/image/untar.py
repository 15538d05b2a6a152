"""Reading tar archives that somebody else may have made to do harm. Pure.

Everything by which two programs could read the same archive as different trees is refused: names that are absolute or
climb, one path twice, members below a file or a link, sizes that lie, headers whose sum is wrong, sparse files, devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from hoist.errors import Damaged
from hoist.model.image.tar import BLOCK_BYTES, padding

MemberKind = Literal["file", "folder", "link", "hardlink", "whiteout", "opaque"]
ReadAt = Callable[[int, int], bytes]
"""Gives `size` bytes from `offset`, fewer only at the end. Asked in order: no offset is below the one before."""

MOST_MEMBERS = 1 << 20
_MOST_PATH_BYTES = 4096
_MOST_EXTENSION_BYTES = 64 << 10
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_KINDS: dict[bytes, MemberKind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"5": "folder",
    b"2": "link",
    b"1": "hardlink",
}


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member: its path with no '/' at either end, and where its content lies in the archive.

    `link` is a symbolic link's text, or the path that a hard link means. A `whiteout` removes what lower layers have at
    `path`, `opaque` all that they have below it.
    """

    path: str
    kind: MemberKind
    size: int = 0
    offset: int = 0
    link: str = ""


def walk(read: ReadAt, size: int, most_members: int = MOST_MEMBERS) -> Iterator[TarMember]:
    """The members of an archive of `size` bytes, in order; contents are not read. Raises Damaged."""
    walker = _Walker(read, size)
    for _ in range(most_members):
        member = walker.member()
        if member is None:
            return
        if member.path:
            yield member
    raise Damaged(f"the archive has more than {most_members} members")


def members_of(data: bytes | memoryview) -> list[TarMember]:
    """The members of an archive in memory. Raises Damaged."""
    return list(walk(lambda offset, size: bytes(data[offset : offset + size]), len(data)))


class _Tree:
    """What has been seen, so that no member lies where another one is in its way."""

    def __init__(self) -> None:
        self._kinds: dict[str, MemberKind] = {}

    def add(self, name: str, kind: MemberKind, size: int, offset: int, link: str) -> TarMember:
        path = _path(name)
        if not path and kind != "folder":
            raise Damaged(f"the archive has a {kind} with no name")
        folder, _, base = path.rpartition("/")
        if base.startswith(_WHITEOUT):
            return self._whiteout(path, folder, base, kind, size)
        self._enter(path, kind)
        if kind == "link":
            _check_link(path, link)
        elif kind == "hardlink":
            link = _path(link)
            if self._kinds.get(link) not in ("file", "hardlink") or link == path:
                raise Damaged(f"the archive has a hard link {path!r} to no file before it: {link!r}")
        return TarMember(path, kind, size, offset, link if kind in ("link", "hardlink") else "")

    def _whiteout(self, path: str, folder: str, base: str, kind: MemberKind, size: int) -> TarMember:
        if kind != "file" or size:
            raise Damaged(f"the archive has a whiteout {path!r} that is no empty file")
        self._enter(path, "whiteout")
        if base == _OPAQUE:
            return TarMember(folder, "opaque") if folder else TarMember(".", "opaque")
        gone = base.removeprefix(_WHITEOUT)
        if gone in ("", ".", "..") or gone.startswith(_WHITEOUT):
            raise Damaged(f"the archive has a whiteout of nothing: {path!r}")
        return TarMember(f"{folder}/{gone}" if folder else gone, "whiteout")

    def _enter(self, path: str, kind: MemberKind) -> None:
        above = path.rpartition("/")[0]
        while above and self._kinds.get(above) != "folder":
            if above in self._kinds:
                raise Damaged(f"the archive has {path!r} below {above!r}, which is no folder")
            self._kinds[above] = "folder"
            above = above.rpartition("/")[0]
        # A folder may be named by itself, and by what is in it.
        if path in self._kinds and not self._kinds[path] == kind == "folder":
            raise Damaged(f"the archive has {path!r} twice")
        self._kinds[path] = kind


@dataclass
class _Walker:
    read: ReadAt
    size: int
    at: int = 0
    tree: _Tree = field(default_factory=_Tree)

    def member(self) -> TarMember | None:
        """The next member; None at the archive's end."""
        extended: dict[str, str] = {}
        while True:
            block = self._take(BLOCK_BYTES)
            if not any(block):
                if extended:
                    raise Damaged("the archive ends behind an extended header")
                return None
            _check_sum(block)
            _check_numbers(block)
            flag = block[156:157]
            size = _number(block[124:136])
            if flag in b"xgLK":
                self._extend(flag, size, extended)
                continue
            return self._plain(block, flag, size, extended)

    def _take(self, count: int) -> bytes:
        data = self.read(self.at, count) if self.at + count <= self.size else b""
        if len(data) != count:
            raise Damaged("the archive is truncated")
        self.at += count
        return data

    def _extend(self, flag: bytes, size: int, extended: dict[str, str]) -> None:
        if size > _MOST_EXTENSION_BYTES:
            raise Damaged(f"the archive has an extended header of {size} bytes")
        data = self._take(size + padding(size))[:size]
        if flag in b"LK":
            extended["path" if flag == b"L" else "linkpath"] = _text(data.removesuffix(b"\0"))
            return
        records = _records(data)
        if any(key.startswith("GNU.sparse.") for key in records):
            raise Damaged("the archive has sparse files")
        # What holds for all that follows is a way to say two things of one member.
        if flag == b"g" and not records.keys().isdisjoint(("path", "linkpath", "size")):
            raise Damaged("the archive has a global path or size")
        if flag == b"x":
            extended.update(records)

    def _plain(self, block: bytes, flag: bytes, size: int, extended: dict[str, str]) -> TarMember:
        kind = _KINDS.get(flag)
        # A short name beside a long one may be cut within a character.
        short = _name(block, cut="path" in extended)
        name = extended.get("path") or short
        if kind is None:
            raise Damaged(f"the archive has {name!r}, which is no file, folder or link (type {flag!r})")
        if kind == "file" and flag == b"\0":
            # Old programs wrote folders so. Which of two names says it is another thing to each reader.
            if name.endswith("/") != short.endswith("/"):
                raise Damaged(f"the archive has {name!r} as a file and as a folder")
            kind = "folder" if name.endswith("/") else "file"
        elif kind == "file" and name.endswith("/"):
            raise Damaged(f"the archive has a file with the name of a folder: {name!r}")
        if "size" in extended:
            size = _decimal(extended["size"])
        if size and kind != "file":
            raise Damaged(f"the archive gives the {kind} {name!r} a content")
        short = _text(block[157:257].partition(b"\0")[0], "replace" if "linkpath" in extended else "strict")
        link = extended.get("linkpath") or short
        offset = self.at
        end = offset + size + padding(size)
        if end > self.size:
            raise Damaged(f"the archive is truncated: {name!r} ends behind it")
        self.at = end
        return self.tree.add(name, kind, size, offset, link)


def _path(name: str) -> str:
    """A member's name as a path in the tree; empty for the tree itself."""
    if name.startswith("/"):
        raise Damaged(f"the archive has an absolute path: {name!r}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Damaged(f"the archive has a path that climbs: {name!r}")
    return "/".join(parts)


def _check_link(path: str, link: str) -> None:
    parts = link.split("/")
    up = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    # Behind another link '..' may mean any folder: it is allowed at the beginning only.
    if not link or link.startswith("/") or up > path.count("/") or ".." in parts[up:]:
        raise Damaged(f"the archive has a link that leaves it: {path!r} to {link!r}")


def _check_sum(block: bytes) -> None:
    found = _number(block[148:156])
    blanked = block[:148] + b" " * 8 + block[156:]
    # Some old programs took bytes as signed.
    signed = sum(blanked) - 256 * sum(byte > 127 for byte in blanked)
    if found not in (sum(blanked), signed):
        raise Damaged("the archive has a header whose sum is wrong: it is no tar, or damaged")


def _name(block: bytes, *, cut: bool) -> str:
    errors = "replace" if cut else "strict"
    name = _text(block[:100].partition(b"\0")[0], errors)
    prefix = _text(block[345:500].partition(b"\0")[0], errors)
    if prefix and block[257:263] != b"ustar\0":
        # In other formats some programs take it for a part of the name, and some do not.
        raise Damaged(f"the archive has a name with a prefix in a header that is not ustar: {name!r}")
    return f"{prefix}/{name}" if prefix else name


def _number(data: bytes) -> int:
    if data[0] == 0x80:
        # Base 256, for sizes from 8 GiB; a negative one begins with 0xff.
        number = int.from_bytes(data[1:])
        if number >= 1 << 63:
            raise Damaged("the archive has a number that is too large")
        return number
    # What begins with a NUL is nothing to some programs, and a number to others.
    head, _, rest = data.partition(b"\0")
    digits = head.strip(b" ")
    if not all(byte in b"01234567" for byte in digits) or rest.strip(b" \0"):
        raise Damaged(f"the archive has a malformed number: {data!r}")
    return int(digits, 8) if digits else 0


def _check_numbers(block: bytes) -> None:
    """Mode, owner, group, time and device mean nothing here, but at a malformed one other programs end without a word."""
    for begin, end in ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345)):
        # Negative ones, such as times before 1970, begin with 0xff.
        if block[begin] != 0xFF:
            _number(block[begin:end])


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Damaged(f"the archive has a malformed size: {text[:40]!r}")
    return int(text)


def _text(data: bytes, errors: str = "strict") -> str:
    try:
        text = data.decode(errors=errors)
    except UnicodeDecodeError:
        raise Damaged(f"the archive has a name that is not UTF-8: {data[:100]!r}") from None
    if "\0" in text or len(data) > _MOST_PATH_BYTES:
        raise Damaged(f"the archive has an impossible name: {text[:100]!r}")
    return text


def _records(data: bytes) -> dict[str, str]:
    """The records of a pax header that matter here."""
    found: dict[str, str] = {}
    while data:
        length, space, _ = data[:20].partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise Damaged("the archive has a malformed pax header")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise Damaged("the archive has a malformed pax header")
        if key in (b"path", b"linkpath", b"size") or key.startswith(b"GNU.sparse."):
            found[_text(key)] = _text(value[:-1])
    return found
