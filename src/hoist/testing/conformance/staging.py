"""Staging: files that are nobody's until they are placed, in parts, resumed and given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hoist.errors import Conflict, VersionNotFound
from hoist.model.blocks import block_digest
from hoist.storage.base import Storage, Tag
from hoist.storage.staging import BeginAnew, Part, Staged, Staging
from hoist.testing.conformance.base import (
    Conformance,
    Content,
    assert_holds,
    finish,
    publish,
    put,
    sample,
    source_of,
    ver,
)

VERSION = "sd15/any:v1"
_SLICE = 1 << 20


class StagingConformance(Conformance):
    """`occupied`, `staging`, `place`."""

    def test_nobody_sees_a_staged_file(self, storage: Storage, tmp_path: Path) -> None:
        content = _content("one")
        staged = self._stage(storage, tmp_path, content)
        assert list(storage.versions()) == []
        with pytest.raises(VersionNotFound):
            storage.read_manifest(ver(VERSION))
        # Another publish does not even stumble over it.
        assert not storage.occupied(ver(VERSION))
        publication = storage.begin(ver(VERSION), content.digest)
        assert not publication.has(content.entries["large.bin"])
        put(publication, content, tmp_path, ["small"])
        assert publication.place(content.entries["large.bin"], staged)
        assert storage.begin(ver(VERSION), content.digest).has(content.entries["large.bin"])
        finish(publication, content)
        assert_holds(storage, VERSION, content)

    def test_parts_in_any_order(self, storage: Storage, tmp_path: Path) -> None:
        content = _content("one")
        staged = self._stage(storage, tmp_path, content, backwards=True)
        self._publish(storage, tmp_path, content, staged)
        assert_holds(storage, VERSION, content)

    def test_discarded(self, storage: Storage, tmp_path: Path) -> None:
        content = _content("one")
        self._stage(storage, tmp_path, content).discard()
        assert not storage.occupied(ver(VERSION))
        assert [item.name for item in storage.leftovers(_FAR) if item.kind == "upload"] == []
        publish(storage, VERSION, content, tmp_path)
        assert_holds(storage, VERSION, content)

    def test_staged_again_with_other_bytes(self, storage: Storage, tmp_path: Path) -> None:
        """What an earlier run has left of other content is not taken for this one's."""
        source = source_of(b"", tmp_path)
        self._stage(storage, tmp_path, _content("other"), source=source).close()
        content = _content("one")
        try:
            staged = self._stage(storage, tmp_path, content, source=source)
        except BeginAnew:
            left = self._staging(storage, tmp_path, content).open("large.bin", (7 << 20) + 3, source)
            left.discard()
            staged = self._stage(storage, tmp_path, content, source=source)
        self._publish(storage, tmp_path, content, staged)
        assert_holds(storage, VERSION, content)

    def test_a_part_that_the_storage_holds(self, storage: Storage, tmp_path: Path) -> None:
        old = _content("one")
        publish(storage, "sd15/any:v0", old, tmp_path)
        staging = self._staging(storage, tmp_path, old)
        data = old.files["large.bin"]
        digests = [block_digest(data[at : at + _SLICE]) for at in range(0, len(data), _SLICE)]
        first = staging.find(digests[0], None)
        if first is None:
            return
        assert (first.offset, first.size) == (0, len(data))
        assert staging.find(block_digest(b"nobody's"), first) is None
        new = Content({"large.bin": data[: 6 << 20] + sample("tail", 1 << 20), "small": b"s"})
        source = source_of(b"", tmp_path)
        for _ in range(2):
            staged = staging.open("large.bin", len(new.files["large.bin"]), source)
            try:
                self._put_with(staged, new.files["large.bin"], Part(1, 0, 6 << 20, b"held", first))
                break
            except BeginAnew:
                staged.discard()
        self._publish(storage, tmp_path, new, staged)
        assert_holds(storage, VERSION, new)

    def test_what_is_occupied(self, storage: Storage, tmp_path: Path) -> None:
        content = _content("one")
        assert not storage.occupied(ver(VERSION))
        begun = storage.begin(ver(VERSION), content.digest)
        assert storage.occupied(ver(VERSION)) == self.claims
        put(begun, content, tmp_path, content.files)
        finish(begun, content)
        assert storage.occupied(ver(VERSION))
        assert not storage.occupied(ver("sd15/any:v2"))
        if not self.nests:
            with pytest.raises(Conflict):
                storage.occupied(ver("sd15/any/v1:v1"))
        storage.set_tag(Tag("sd15/any", "latest", "v1", content.digest))
        with pytest.raises(Conflict):
            storage.occupied(ver("sd15/any:latest"))

    def _staging(self, storage: Storage, folder: Path, content: Content) -> Staging:
        sizes = [entry.size for entry in content.entries.values()]
        staging = storage.staging(ver(VERSION), sizes, folder / "journals")
        if staging is None:
            assert not self.stages
            pytest.skip("this storage stages no files (stages = False)")
        return staging

    def _stage(
        self,
        storage: Storage,
        folder: Path,
        content: Content,
        *,
        source: Path | None = None,
        backwards: bool = False,
    ) -> Staged:
        data = content.files["large.bin"]
        staging = self._staging(storage, folder, content)
        staged = staging.open("large.bin", len(data), source or source_of(b"", folder))
        cut = 5 << 20
        spans = [(1, 0, cut), (2, cut, len(data))]
        for number, begin, end in reversed(spans) if backwards else spans:
            part = Part(number, begin, end, block_digest(data[begin:end]))
            if not staged.has(part):
                staged.put(part, lambda begin=begin, end=end: _slices(data, begin, end))  # type: ignore[misc]
        staged.complete()
        return staged

    def _put_with(self, staged: Staged, data: bytes, held: Part) -> None:
        if not staged.copy(held):
            staged.put(held, lambda: _slices(data, held.begin, held.end))
        staged.put(Part(2, held.end, len(data), b"tail"), lambda: _slices(data, held.end, len(data)))
        staged.complete()

    def _publish(self, storage: Storage, folder: Path, content: Content, staged: Staged) -> None:
        publication = storage.begin(ver(VERSION), content.digest)
        put(publication, content, folder, ["small"])
        assert publication.place(content.entries["large.bin"], staged)
        finish(publication, content)


_FAR = 1e12


def _content(seed: str) -> Content:
    return Content({"large.bin": sample(seed, (7 << 20) + 3), "small": b"s"})


def _slices(data: bytes, begin: int, end: int) -> Iterator[memoryview]:
    for at in range(begin, end, _SLICE):
        yield memoryview(data)[at : min(at + _SLICE, end)]
