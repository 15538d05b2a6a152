"""Tar members: what Python's tarfile and GNU tar read is what was written, and the reverse."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.errors import Damaged
from hoist.model.image.tar import END, Kind, header, member_bytes, padding
from hoist.model.image.untar import TarMember, members_of, walk
from hoist.model.manifest import check_path, digest_of

PARTS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\\x7f"), min_size=1, max_size=40
)
PATHS = st.lists(PARTS | st.sampled_from(["a", "n" * 90, "p" * 150]), min_size=1, max_size=6).map("/".join)


def _is_safe(path: str) -> bool:
    try:
        check_path(path)
    except Damaged:
        return False
    return not any(part.startswith(".wh.") for part in path.split("/"))


SAFE = PATHS.filter(_is_safe)


def member(kind: Kind, path: str, data: bytes = b"", link: str = "") -> bytes:
    return header(kind, path, len(data), link) + data + bytes(padding(len(data)))


@given(SAFE, st.binary(max_size=2000), SAFE)
def test_tarfile_and_untar_read_what_was_written(path: str, data: bytes, target: str) -> None:
    parts = [member("file", path + "f", data), member("folder", path), member("link", path + "l", link=target)]
    assert [len(part) for part in parts] == [
        member_bytes("file", path + "f", len(data)),
        member_bytes("folder", path),
        member_bytes("link", path + "l", 0, target),
    ]
    archive = b"".join(parts) + END
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        file, folder, link = opened.getmembers()
        extracted = opened.extractfile(file)
        assert extracted is not None
        assert extracted.read() == data
    assert (file.name, file.mode, file.uid, file.gid, file.mtime, file.uname) == (path + "f", 0o444, 0, 0, 0, "")
    assert (folder.name, folder.mode, folder.isdir()) == (path, 0o755, True)
    assert (link.name, link.linkname, link.mode, link.issym()) == (path + "l", target, 0o777, True)
    assert [(each.path, each.kind, each.size, each.link) for each in members_of(archive)] == [
        (path + "f", "file", len(data), ""),
        (path, "folder", 0, ""),
        (path + "l", "link", 0, target),
    ]
    at = members_of(archive)[0].offset
    assert archive[at : at + len(data)] == data


@given(SAFE, st.binary(max_size=2000), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_untar_reads_what_tarfile_wrote(path: str, data: bytes, kind: int) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=kind) as opened:
        info = tarfile.TarInfo(path)
        info.size = len(data)
        opened.addfile(info, io.BytesIO(data))
        other = tarfile.TarInfo("x")
        other.type, other.linkname = tarfile.SYMTYPE, path
        if path != "x" and not path.startswith("x/"):
            opened.addfile(other)
    archive = target.getvalue()
    found = members_of(archive)
    assert (found[0].path, found[0].kind, found[0].size) == (path, "file", len(data))
    assert archive[found[0].offset : found[0].offset + len(data)] == data
    assert [each.link for each in found[1:]] == ([path] if len(found) > 1 else [])


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 1 << 45])
def test_sizes_beyond_eight_gibibytes(size: int) -> None:
    block = header("file", "large.bin", size)
    assert tarfile.TarInfo.frombuf(block[-512:], "utf-8", "strict").size == (size if size < 8**11 else 0)
    # Nothing but headers is read: the content need not be there.
    whole = len(block) + size + padding(size) + len(END)

    def read(offset: int, count: int) -> bytes:
        return block[offset : offset + count] if offset < len(block) else bytes(count)

    assert list(walk(read, whole)) == [TarMember("large.bin", "file", size, len(block))]


def test_gnu_tar_unpacks_it(tmp_path: Path) -> None:
    long = "/".join(["folder" * 12] * 4)
    files = {"plain.bin": b"x" * 1000, f"{long}/file": b"deep", "汉字/é.bin": b"", "n" * 200: b"n"}
    archive = b"".join(member("file", path, data) for path, data in files.items())
    archive += member("link", "to", link="汉字/é.bin") + member("folder", "empty") + END
    subprocess.run(["tar", "-x"], input=archive, cwd=tmp_path, check=True)
    assert {path: (tmp_path / path).read_bytes() for path in files} == files
    assert (tmp_path / "to").readlink() == Path("汉字/é.bin")
    assert (tmp_path / "empty").is_dir()
    assert (tmp_path / "plain.bin").stat().st_mtime == 0


def test_the_bytes_never_change() -> None:
    """A header that changed would change the digest of every layer, and every image would be sent anew."""
    block = header("file", "models/sd15/any/v1/unet.safetensors", 5)
    assert block[:100].rstrip(b"\0") == b"models/sd15/any/v1/unet.safetensors"
    assert digest_of(block) == "sha256:69b4e83042706356bd625b32ecad8a332c6cb15b46120981b05ce6d6cc2b6c9a"
