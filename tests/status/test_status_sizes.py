"""Sizes that a host remembers: whatever becomes of the notes, and whoever else writes them."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from hoist.status import sizes
from hoist.status.sizes import Sized, Sizes
from hoist.storage.seen import Seen


def sized(number: int) -> Sized:
    return Sized(f"sha256:{number:064x}", f"{number:032x}", number * 1000, number)


def test_what_was_noted_is_known_by_either_digest_and_in_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "sizes"
    Sizes(path).note(map(sized, range(3)))
    found = Sizes(path)
    assert found.recall(Seen(digest=sized(2).digest)) == found.recall(Seen(md5=sized(2).md5)) == sized(2)
    assert found.recall(Seen(digest=sized(3).digest)) is None
    assert found.recall(Seen()) is None
    before = path.read_text()
    found.note([sized(1)])
    assert path.read_text() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "sizes"

    def write(first: int) -> None:
        for each in range(first, first + 50):
            Sizes(path).note([sized(each)])

    writers = [Thread(target=write, args=(first,)) for first in (0, 1000)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    known = Sizes(path)
    assert all(known.recall(Seen(md5=sized(n).md5)) for first in (0, 1000) for n in range(first, first + 50))


def test_notes_that_are_none_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sizes"
    good = Sizes(path)
    good.note([sized(1)])
    line = path.read_text()
    path.write_bytes(b"\xff\n" + line[:-20].encode() + b"\n" + b"sha256:x y 1 2\n" + line.encode() + line[:30].encode())
    assert Sizes(path).recall(Seen(digest=sized(1).digest)) == sized(1)
    (tmp_path / "folder").mkdir()
    stubborn = Sizes(tmp_path / "folder")
    stubborn.note([sized(1)])
    assert stubborn.recall(Seen(digest=sized(1).digest)) == sized(1)
    assert Sizes(None).recall(Seen(digest=sized(1).digest)) is None


def test_the_older_half_is_forgotten_where_there_are_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "_MOST_BYTES", 5000)
    path = tmp_path / "sizes"
    for each in range(60):
        Sizes(path).note([sized(each)])
    assert path.stat().st_size <= 5000
    assert Sizes(path).recall(Seen(digest=sized(0).digest)) is None
    assert Sizes(path).recall(Seen(digest=sized(59).digest)) == sized(59)
    assert [each.name for each in tmp_path.iterdir()] == ["sizes"]
