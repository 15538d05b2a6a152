"""Tar members, to the byte: what depends on nothing but a member's path, size and link. Pure.

Headers are POSIX ustar, with a pax header before them only where ustar cannot say it: names that are long or not ASCII,
and sizes from 8 GiB. Owners are numbers (0, 0), times are 0, modes are 0444 (files), 0755 (folders) and 0777 (links).
"""

from __future__ import annotations

from typing import Literal

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
"""What ends an archive."""

Kind = Literal["file", "folder", "link"]

_FLAGS: dict[Kind, bytes] = {"file": b"0", "folder": b"5", "link": b"2"}
_MODES: dict[Kind, int] = {"file": 0o444, "folder": 0o755, "link": 0o777}
_PAX_NAME = b"././@PaxHeader"
_NAME_BYTES, _PREFIX_BYTES = 100, 155
_LARGEST_OCTAL = 8**11


def header(kind: Kind, path: str, size: int = 0, link: str = "") -> bytes:
    """What stands before a member's content: one block, or three and more where a pax header is needed.

    `path` has no '/' at either end. `size` is of the content, 0 for a folder or link.
    """
    stored = path + "/" if kind == "folder" else path
    records: list[tuple[str, str]] = []
    prefix, name = _split(stored)
    if name is None:
        records.append(("path", stored))
        prefix, name = b"", _cut(stored)
    target = link.encode("ascii", "replace")
    if not link.isascii() or len(target) > _NAME_BYTES:
        records.append(("linkpath", link))
    if size >= _LARGEST_OCTAL:
        records.append(("size", str(size)))
    block = _block(name, _FLAGS[kind], _MODES[kind], size if size < _LARGEST_OCTAL else 0, target, prefix)
    return _pax(records) + block if records else block


def padding(size: int) -> int:
    """How many zeros follow a content of `size` bytes."""
    return -size % BLOCK_BYTES


def member_bytes(kind: Kind, path: str, size: int = 0, link: str = "") -> int:
    """The bytes of a whole member: header, content and padding."""
    return len(header(kind, path, size, link)) + size + padding(size)


def _split(path: str) -> tuple[bytes, bytes | None]:
    """A path as ustar's prefix and name; no name where it cannot be said so."""
    if not path.isascii():
        return b"", None
    data = path.encode()
    if len(data) <= _NAME_BYTES:
        return b"", data
    # The name begins as early as it can, so that there is one way to split.
    cut = data.find(b"/", len(data) - _NAME_BYTES - 1, len(data) - 1)
    return (data[:cut], data[cut + 1 :]) if 0 < cut <= _PREFIX_BYTES else (b"", None)


def _cut(path: str) -> bytes:
    """What programs show that know no pax headers."""
    return path.encode("ascii", "replace")[:_NAME_BYTES]


def _pax(records: list[tuple[str, str]]) -> bytes:
    content = b"".join(_record(key, value) for key, value in records)
    return _block(_PAX_NAME, b"x", 0o444, len(content), b"", b"") + content + bytes(padding(len(content)))


def _record(key: str, value: str) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where the length counts itself."""
    tail = f" {key}={value}\n".encode()
    length = len(tail) + len(str(len(tail)))
    while len(str(length)) + len(tail) != length:
        length += 1
    return str(length).encode() + tail


def _block(name: bytes, flag: bytes, mode: int, size: int, link: bytes, prefix: bytes) -> bytes:
    fields = (
        name.ljust(100, b"\0"),
        b"%07o\0" % mode,
        b"0000000\0" * 2,
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,
        flag,
        link[:_NAME_BYTES].ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        b"0000000\0" * 2,
        prefix.ljust(155, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
