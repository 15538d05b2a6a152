"""The page cache as it is measured: a file just read is cached, a dropped one is not, and the two ways agree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hoist import pagecache

SIZE = 8 << 20

pytestmark = pytest.mark.usefixtures("page_cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


def test_a_file_that_was_read_is_cached_and_a_dropped_one_is_cold(file: Path) -> None:
    file.read_bytes()
    assert pagecache.cached_fraction(file) == 1.0
    assert pagecache.drop([file]) == 0.0
    assert pagecache.cached_fraction(file) == 0.0


def test_part_of_a_file_is_told(file: Path) -> None:
    pagecache.drop([file])
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(opened.fileno(), SIZE // 2, 0)
    assert 0.4 < pagecache.cached_fraction(file) < 0.8


def test_mincore_agrees_with_cachestat(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.read_bytes()
    monkeypatch.setattr(pagecache, "_cachestat", lambda fd: None)
    assert pagecache.cached_fraction(file) == 1.0
    pagecache.drop([file])
    assert pagecache.cached_fraction(file) == 0.0


def test_an_empty_file_is_cold(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert pagecache.cached_fraction(tmp_path / "empty") == 0.0
