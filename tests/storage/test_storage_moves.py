"""Tags and removals that meet at their worst moments, those that are killed in between, and histories that lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hoist.errors import Conflict, HoistError, InvalidReference, StorageUnavailable, VersionNotFound
from hoist.storage import layout, removal
from hoist.storage.base import Storage, Tag
from hoist.storage.image.history import SUFFIX
from hoist.storage.image.storage import ImageStorage
from hoist.storage.memory import MemoryObjects
from hoist.storage.moves import MOST_MOVES, TagMove, happened, read_moves, write_moves
from hoist.storage.oci.layout import LayoutFolder
from hoist.storage.tree import TreeStorage
from hoist.testing.conformance.base import publish, ref, small, ver

NAME = "sd15/any"
KEY = layout.tag_key(NAME, "stable")
V1, V2 = (ver(f"{NAME}:{label}") for label in ("v1", "v2"))


class Killed(BaseException):
    """What no code catches."""


class Meeting(MemoryObjects):
    """Memory that calls what is told once, before or after an operation on a key."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[tuple[str, str, str], Callable[[], object]] = {}

    def swap(self, key: str, data: bytes, expected: str | None) -> bool:
        self._tell("before", "swap", key)
        done = super().swap(key, data, expected)
        self._tell("after", "swap", key)
        return done

    def delete(self, keys: object) -> None:
        assert isinstance(keys, list)
        for key in keys:
            self._tell("before", "delete", key)
        super().delete(keys)
        for key in keys:
            self._tell("after", "delete", key)

    def _tell(self, when: str, operation: str, key: str) -> None:
        action = self.told.pop((when, operation, key), None)
        if action:
            action()


@pytest.fixture
def objects() -> Meeting:
    return Meeting()


@pytest.fixture
def storage(objects: Meeting, tmp_path: Path) -> Storage:
    """Two versions; `stable` is the first."""
    made = TreeStorage(objects, "nas")
    _fill(made, tmp_path)
    return made


def _fill(storage: Storage, folder: Path) -> None:
    for version in (V1, V2):
        publish(storage, str(version), small(version.label), folder)
    storage.set_tag(_stable("v1"))


def open_layout(root: Path) -> ImageStorage:
    return ImageStorage(LayoutFolder(root, str(root)), "", "image")


def _stable(label: str) -> Tag:
    return Tag(NAME, "stable", label, small(label).digest)


def _kill() -> None:
    raise Killed


def _is_right(storage: Storage) -> str:
    """The label that `stable` names, which is there; its history says so too."""
    found = storage.resolve(ref(f"{NAME}:stable"))[0].label
    assert storage.tag_moves(NAME, "stable")[-1].label == found
    return found


def test_removed_between_the_look_and_the_move(objects: Meeting, storage: Storage) -> None:
    objects.told["before", "swap", KEY] = lambda: storage.remove(V2, unless_tagged=True)
    with pytest.raises(VersionNotFound):
        storage.set_tag(_stable("v2"))
    assert _is_right(storage) == "v1"
    assert len(storage.tag_moves(NAME)) == 1


def test_a_new_tag_of_what_is_removed_meanwhile_is_taken_away(objects: Meeting, storage: Storage) -> None:
    key = layout.tag_key(NAME, "latest")
    objects.told["before", "swap", key] = lambda: storage.remove(V2, unless_tagged=True)
    with pytest.raises(VersionNotFound):
        storage.set_tag(Tag(NAME, "latest", "v2", small("v2").digest))
    assert storage.find_tag(NAME, "latest") is None


def test_tagged_between_the_announcement_and_the_look(objects: Meeting, storage: Storage) -> None:
    """Who comes second gives way: here both do, and nothing is lost."""
    refused: list[HoistError] = []

    def tag() -> None:
        try:
            storage.set_tag(_stable("v2"))
        except HoistError as error:
            refused.append(error)

    objects.told["after", "swap", layout.claim_key(V2)] = tag
    storage.remove(V2, unless_tagged=True)
    assert isinstance(refused[0], Conflict)
    assert "being removed" in str(refused[0])
    assert _is_right(storage) == "v1"
    assert [str(version) for version in storage.versions()] == [str(V1)]


def test_a_mover_that_is_killed_after_a_removal_looked(objects: Meeting, storage: Storage) -> None:
    """The tag was moved, its mover had no time to look: the removal puts it back."""

    def late() -> None:
        objects.put(KEY, layout.tag_document("v2", small("v2").digest, [*storage.tag_moves(NAME), _move("v1", "v2")]))

    objects.told["before", "delete", layout.manifest_key(V2)] = late
    storage.remove(V2, unless_tagged=True)
    assert _is_right(storage) == "v1"


def test_a_removal_that_is_killed_holds_nobody_for_long(
    objects: Meeting, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.told["before", "delete", layout.manifest_key(V2)] = _kill
    with pytest.raises(Killed):
        storage.remove(V2, unless_tagged=True)
    with pytest.raises(Conflict, match="being removed"):
        storage.set_tag(_stable("v2"))
    assert _is_right(storage) == "v1"
    monkeypatch.setattr(removal, "_REMOVAL_SECONDS", -1)
    storage.set_tag(_stable("v2"))
    assert _is_right(storage) == "v2"
    assert list(objects.list(layout.CLAIMS)) == []


def test_a_removal_that_slept_finds_that_it_lost_the_claim(
    objects: Meeting, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tag() -> None:
        monkeypatch.setattr(removal, "_REMOVAL_SECONDS", -1)
        storage.set_tag(_stable("v2"))
        monkeypatch.undo()

    objects.told["after", "swap", layout.claim_key(V2)] = tag
    with pytest.raises(Conflict, match="stable"):
        storage.remove(V2, unless_tagged=True)
    assert _is_right(storage) == "v2"


def test_a_move_whose_answer_was_lost_was_made(objects: Meeting, storage: Storage) -> None:
    lost = objects.swap
    objects.swap = lambda *args: lost(*args) and args[0] != KEY  # type: ignore[method-assign]
    storage.set_tag(_stable("v2"))
    assert _is_right(storage) == "v2"


def test_the_last_hundred_moves_are_kept(storage: Storage, tmp_path: Path) -> None:
    image = open_layout(tmp_path / "image")
    _fill(image, tmp_path)
    for each in (storage, image):
        for number in range(1, MOST_MOVES + 3):
            each.set_tag(_stable("v2" if number % 2 else "v1"), note=str(number))
        moves = each.tag_moves(NAME, "stable")
        assert [move.note for move in moves] == [str(number) for number in range(3, MOST_MOVES + 3)]
    # Only the last history stays behind, and nothing of those before.
    left = (tmp_path / "image/index.json").read_text().count('"digest"')
    assert left == 4


def test_a_document_of_an_older_hoist_has_no_history(objects: Meeting, storage: Storage) -> None:
    objects.put(KEY, json.dumps({"version": "v1", "digest": small("v1").digest}).encode())
    assert storage.find_tag(NAME, "stable") == _stable("v1")
    assert storage.tag_moves(NAME, "stable") == []
    storage.set_tag(_stable("v2"))
    (move,) = storage.tag_moves(NAME, "stable")
    assert (move.before_label, move.label) == ("v1", "v2")


def test_an_image_whose_mover_is_killed_between_history_and_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = open_layout(tmp_path / "image")
    _fill(image, tmp_path)
    _die_at(image, "stable", monkeypatch)
    with pytest.raises(Killed):
        image.set_tag(_stable("v2"))
    monkeypatch.undo()
    assert _is_right(image) == "v1"
    assert len(image.tag_moves(NAME)) == 1
    image.set_tag(_stable("v2"))
    assert [move.before_label for move in image.tag_moves(NAME)] == ["", "v1"]


def test_an_image_that_is_removed_while_it_is_tagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_layout(tmp_path / "image")
    _fill(image, tmp_path)
    put = image.repositories.put_manifest

    def meanwhile(repository: str, reference: str, data: bytes, media_type: str) -> None:
        if reference == "stable":
            monkeypatch.undo()
            image.remove(V2, unless_tagged=True)
        put(repository, reference, data, media_type)

    monkeypatch.setattr(image.repositories, "put_manifest", meanwhile)
    # The layout takes no manifest whose blobs are gone; a registry, which does, is looked at again.
    with pytest.raises(HoistError):
        image.set_tag(_stable("v2"))
    assert _is_right(image) == "v1"


def test_names_of_histories_in_an_image_storage(tmp_path: Path) -> None:
    image = open_layout(tmp_path / "image")
    _fill(image, tmp_path)
    with pytest.raises(InvalidReference, match="histories"):
        publish(image, f"{NAME}:v3{SUFFIX}", small("x"), tmp_path)
    with pytest.raises(InvalidReference, match="histories"):
        image.set_tag(Tag(NAME, f"x{SUFFIX}", "v1", small("v1").digest))
    longest = Tag(NAME, "t" * 128, "v1", small("v1").digest)
    image.set_tag(longest)
    assert image.find_tag(NAME, longest.tag) == longest
    assert image.tag_moves(NAME, longest.tag) == []
    # What another tool has put there is neither read as a history nor written over.
    document = image.repositories.manifest(image.repository_of(NAME), "v1")
    image.repositories.put_manifest(image.repository_of(NAME), f"stable{SUFFIX}", document.data, document.media_type)
    assert image.tag_moves(NAME, "stable") == []
    with pytest.raises(Conflict, match="no history"):
        image.set_tag(_stable("v2"))


def test_an_image_version_takes_its_tags_and_their_histories_with_it(tmp_path: Path) -> None:
    image = open_layout(tmp_path / "image")
    _fill(image, tmp_path)
    image.remove(V1)
    assert list(image.repositories.tags(image.repository_of(NAME))) == ["v2"]


def test_who_moves_is_said_by_the_environment(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOIST_AUTHOR", "pipeline 81\n of main")
    storage.set_tag(_stable("v2"))
    assert storage.tag_moves(NAME, "stable")[-1].by == "pipeline 81  of main"


def test_a_failing_look_lets_go_of_the_announcement(objects: Meeting, storage: Storage) -> None:
    def fail() -> None:
        def broken(prefix: str) -> object:
            objects.__dict__.pop("list")
            raise StorageUnavailable("gone for a moment")

        objects.list = broken  # type: ignore[method-assign, assignment]

    objects.told["after", "swap", layout.claim_key(V2)] = fail
    with pytest.raises(StorageUnavailable):
        storage.remove(V2, unless_tagged=True)
    storage.set_tag(_stable("v2"))
    assert _is_right(storage) == "v2"


def _move(before: str, label: str) -> TagMove:
    stood = (before, small(before).digest) if before else ("", "")
    return TagMove(NAME, "stable", label, small(label).digest, *stood, 5.0, "a@b", "")


def test_only_a_move_that_was_made_counts() -> None:
    moves = [_move("", "v1"), _move("v1", "v2")]
    assert happened(moves, _stable("v2")) == moves
    assert happened(moves, _stable("v1")) == moves[:1]
    # Moved by another tool since: what was made before that was made all the same.
    assert happened(moves, _stable("v3")) == moves
    assert happened(moves, None) == []
    assert happened([], _stable("v1")) == []


def _objects(values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    keys = st.sampled_from(("version", "digest", "at", "by", "note", "before")) | st.text()
    return st.dictionaries(keys, values)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | _objects(inner)
)


@settings(max_examples=50, deadline=None)
@example([{"version": "v1", "digest": small("v1").digest, "at": 10**400, "by": "a\x1b", "before": {"version": "../x"}}])
@example([{"version": "v1", "digest": small("v1").digest, "at": 1e-9}])
@given(_JSON | st.lists(_objects(_JSON), max_size=5))
def test_no_history_harms_its_reader(found: object) -> None:
    for move in read_moves(found, NAME, "stable"):
        assert read_moves(write_moves([move]), NAME, "stable") == [move]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.builds(_move, st.sampled_from(("", "v1", "v2")), st.sampled_from(("v1", "v2"))), max_size=120))
def test_what_is_written_is_read(moves: list[TagMove]) -> None:
    assert read_moves(json.loads(json.dumps(write_moves(moves))), NAME, "stable") == moves[-MOST_MOVES:]


def _die_at(image: ImageStorage, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put = image.repositories.put_manifest

    def dying(repository: str, reference: str, data: bytes, media_type: str) -> None:
        if reference == tag:
            raise Killed
        put(repository, reference, data, media_type)

    monkeypatch.setattr(image.repositories, "put_manifest", dying)
