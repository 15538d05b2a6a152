"""Archives that somebody made to do harm are refused, and nothing but Damaged leaves the reader."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import Damaged
from hoist.model.image.tar import END, header, padding
from hoist.model.image.untar import TarMember, members_of, walk


def archive(*infos: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as opened:
        for info in infos:
            opened.addfile(info, io.BytesIO(bytes(info.size)) if info.isreg() else None)
    return target.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "", **pax: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname, made.pax_headers = kind, size, link, pax
    return made


def sparse(name: str) -> tarfile.TarInfo:
    made = info(name)
    made.pax_headers = {"GNU.sparse.size": "5"}
    return made


def patched(change: Callable[[bytearray], None]) -> bytes:
    """An archive of one file whose header was changed, with a right sum."""
    block = bytearray(header("file", "file.bin", 100))
    change(block)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(512) + END


def put(at: int, data: bytes) -> Callable[[bytearray], None]:
    def change(block: bytearray) -> None:
        block[at : at + len(data)] = data

    return change


def both(block: bytearray, *changes: Callable[[bytearray], None]) -> None:
    for change in changes:
        change(block)


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
HOSTILE = {
    "absolute": archive(info("/etc/passwd")),
    "climbs": archive(info("a/../../etc/passwd")),
    "climbs by pax": archive(info("a", path="../b")),
    "a device": archive(info("dev", tarfile.CHRTYPE)),
    "a block device": archive(info("dev", tarfile.BLKTYPE)),
    "a fifo": archive(info("fifo", tarfile.FIFOTYPE)),
    "twice": archive(info("a", size=1), info("a", size=2)),
    "twice by other names": archive(info("a"), info("./a")),
    "a folder that was a file": archive(info("a"), info("a", tarfile.DIRTYPE)),
    "a file that was a folder": archive(info("a/b"), info("a")),
    "below a file": archive(info("a"), info("a/b")),
    "below a link": archive(info("a", LINK, link="b"), info("a/c")),
    "a link outside": archive(info("a/b", LINK, link="../../x")),
    "a link to the root": archive(info("a", LINK, link="/etc")),
    "a link by a detour": archive(info("a/b", LINK, link="c/../../../x")),
    "a link to nothing": archive(info("a", LINK)),
    "a hard link outside": archive(info("a", HARD, link="../x")),
    "a hard link to nothing": archive(info("a", HARD, link="x")),
    "a hard link to a link": archive(info("x", LINK, link="y"), info("a", HARD, link="x")),
    "a whiteout with content": archive(info("a/.wh.b", size=3)),
    "a whiteout of nothing": archive(info("a/.wh.")),
    "a whiteout of the folder above": archive(info("a/.wh...")),
    "sparse": patched(put(156, b"S")),
    "sparse by pax": archive(sparse("a")),
    "unknown type": patched(put(156, b"Z")),
    "negative": patched(put(124, b"\xff" * 12)),
    "base 256 too large": patched(put(124, b"\x80" + b"\xff" * 11)),
    "beyond the end": patched(put(124, b"77777777777\0")),
    "no number": patched(put(124, b"0000000-100\0")),
    "not UTF-8": patched(put(0, b"\xff\xfe")),
    "a folder with content": patched(put(156, b"5")),
    "no name": patched(put(0, bytes(100))),
    "wrong sum": header("file", "a", 0)[:150] + b"77" + header("file", "a", 0)[152:] + END,
    "no end": header("file", "a", 0),
    "cut": header("file", "a", 0)[:300],
    "nothing": b"",
    "a huge pax header": patched(lambda block: (put(156, b"x")(block), put(124, b"%011o\0" % (1 << 20))(block))[0]),
    "pax behind which nothing comes": archive(info("a", path="b"))[:1024] + END,
}


# What programs disagree about: each reads another tree, or ends without a word.
HOSTILE |= {
    "a number behind a NUL": patched(put(124, b"\x00000000144\x00")),
    "a number with more behind a NUL": patched(put(124, b"144\x00555")),
    "a prefix in a GNU header": patched(lambda block: both(block, put(257, b"ustar  \0"), put(345, b"folder"))),
    "a prefix in an old header": patched(lambda block: both(block, put(257, bytes(8)), put(345, b"folder"))),
    "a malformed mode": patched(put(100, b"rw-r--r-")),
    "a malformed time": patched(put(136, b"yesterday")),
    "a file with the name of a folder": patched(put(0, b"file.bin/")),
    "a file by one name and a folder by the other": archive(info("a/", tarfile.AREGTYPE, path="b")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_harmful_archives_are_refused(name: str) -> None:
    with pytest.raises(Damaged):
        members_of(HOSTILE[name])


def pax(content: bytes, flag: bytes = b"x") -> bytes:
    block = bytearray(header("file", "PaxHeader", len(content)))
    block[156:157] = flag
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + bytes(padding(len(content)))


@pytest.mark.parametrize(
    "content",
    [
        b"8 path\n",
        b"99 path=a\n",
        b"-1 path=a\n",
        b"path=a\n",
        b"8 path=a\n",
        b"11 size=-1\n",
        b"12 size=1e3\n",
        b"30 size=99999999999999999999\n",
        b"12 path=a\0b\n",
        b"11 path=\xff\xff\n",
        b"99999999999999999999999 path=a\n",
    ],
)
def test_malformed_pax_headers_are_refused(content: bytes) -> None:
    with pytest.raises(Damaged):
        members_of(pax(content) + header("file", "a", 0) + END)


def test_what_a_global_header_may_say() -> None:
    member = header("file", "a", 0) + END
    assert [each.path for each in members_of(pax(b"17 comment=hello\n", b"g") + member)] == ["a"]
    with pytest.raises(Damaged, match="global"):
        members_of(pax(b"10 path=b\n", b"g") + member)


def test_whiteouts_are_told_from_files() -> None:
    found = members_of(archive(info("a/.wh.b"), info("c/.wh..wh..opq"), info("d", size=1), info(".wh.e")))
    assert [(each.path, each.kind) for each in found] == [
        ("a/b", "whiteout"),
        ("c", "opaque"),
        ("d", "file"),
        ("e", "whiteout"),
    ]


def test_names_are_made_plain() -> None:
    found = members_of(archive(info("./", tarfile.DIRTYPE), info("./a//b/./c", size=1), info("a", tarfile.DIRTYPE)))
    assert [(each.path, each.kind) for each in found] == [("a/b/c", "file"), ("a", "folder")]


def test_too_many_members() -> None:
    data = archive(*(info(str(number)) for number in range(20)))
    assert len(list(walk(lambda at, size: data[at : at + size], len(data), 21))) == 20
    with pytest.raises(Damaged, match="more than 20"):
        list(walk(lambda at, size: data[at : at + size], len(data), 20))


GOOD = archive(
    info("models/", tarfile.DIRTYPE),
    info("models/a", size=700),
    info("n" * 120, size=3),
    info("汉", LINK, link="models/a"),
    info("hard", HARD, link="models/a"),
)


@given(
    st.binary(max_size=4000)
    | st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.binary(max_size=8))).map(lambda edits: _edited(GOOD, edits))
    | st.integers(0, len(GOOD)).map(lambda end: GOOD[:end])
)
def test_whatever_comes_is_read_or_damaged(data: bytes) -> None:
    try:
        found = members_of(data)
    except Damaged:
        return
    for each in found:
        check(each, len(data))


@given(st.lists(st.tuples(st.integers(0, 511), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4))
def test_headers_with_right_sums_that_lie(edits: list[tuple[int, bytes]]) -> None:
    def change(block: bytearray) -> None:
        for at, new in edits:
            block[at : at + len(new)] = new[: 512 - at]

    data = patched(change)
    try:
        found = members_of(data)
    except Damaged:
        return
    for each in found:
        check(each, len(data))


def check(member: TarMember, size: int) -> None:
    parts = member.path.split("/")
    assert member.path == "." or not {"", ".", ".."} & set(parts)
    assert member.offset >= 0
    assert member.offset + member.size <= size
    assert "\0" not in member.path + member.link


def _edited(data: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    changed = bytearray(data)
    for at, new in edits:
        changed[at : at + len(new)] = new
    return bytes(changed)
