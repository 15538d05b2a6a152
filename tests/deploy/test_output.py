"""Files are written whole, once, and never over what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoist.deploy.output import read_file, replace_file, write_files
from hoist.errors import Conflict, LocalError


def test_the_same_text_is_written_once(tmp_path: Path) -> None:
    file = tmp_path / "out" / "a.yaml"
    assert write_files({file: "a\n"}) == [file]
    before = file.stat()
    assert write_files({file: "a\n"}) == []
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_what_differs_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("mine\n")
    files = {tmp_path / "a.yaml": "a\n", tmp_path / "b.yaml": "b\n"}
    with pytest.raises(Conflict, match=r"b\.yaml is there and differs: --force"):
        write_files(files)
    assert not (tmp_path / "a.yaml").exists()
    assert (tmp_path / "b.yaml").read_text() == "mine\n"
    write_files(files, force=True)
    assert (tmp_path / "b.yaml").read_text() == "b\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "b.yaml"]


def test_permissions_links_and_line_ends_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "s.yaml"
    real.write_bytes(b"a: 1\r\n")
    real.chmod(0o640)
    link.symlink_to(real)
    assert read_file(link) == "a: 1\r\n"
    replace_file(link, "a: 2\r\n")
    assert link.is_symlink()
    assert real.read_bytes() == b"a: 2\r\n"
    assert real.stat().st_mode & 0o777 == 0o640


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="is a folder"):
        write_files({tmp_path: "a"})
    with pytest.raises(LocalError, match="cannot be read"):
        read_file(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(LocalError, match="UTF-8"):
        read_file(tmp_path / "binary")
