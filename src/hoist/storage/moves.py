"""A tag's history: each move that it made, who made it, when and why. Pure.

It is stored beside what the tag names, as JSON. What is read there is another's: names that are none are left out, and texts
that people will read are shortened and made printable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from hoist.errors import Conflict
from hoist.model.reference import is_digest, is_label

if TYPE_CHECKING:
    from hoist.storage.base import Tag, Version

MOST_MOVES = 100
"""As many moves of one tag are kept, the last ones."""
_MOST_TEXT = 200
# The year 9999: what shows a time can show no later one.
_MOST_SECONDS = 253402214400


class Whatever(Enum):
    """The type of `ANY`, which is no tag and not None."""

    ANY = "any"


ANY: Final = Whatever.ANY
"""For `set_tag`: whatever stands there."""


@dataclass(frozen=True, slots=True)
class TagMove:
    """One move of a tag.

    `label` and `digest` are what it names since, `before_label` and `before_digest` what it named: empty if it was new.
    `at` is when, in seconds since the epoch by the mover's clock; `by` who, as `user@host`; `note` why, may be empty.
    """

    name: str
    tag: str
    label: str
    digest: str
    before_label: str
    before_digest: str
    at: float
    by: str
    note: str = ""


def move_of(tag: Tag, before: Tag | None, at: float, by: str, note: str) -> TagMove:
    """The move that makes `tag` of what stood there."""
    stood = (before.label, before.digest) if before else ("", "")
    return TagMove(tag.name, tag.tag, tag.label, tag.digest, *stood, round(at, 3), printable(by), printable(note))


def check_before(address: str, tag: Tag, before: Tag | Whatever | None, found: Tag | None) -> None:
    """Raise Conflict unless what stands there is what the mover saw."""
    if before is ANY or _meant(before) == _meant(found):
        return
    now = f"names {found.label} now" if found else "is gone"
    raise Conflict(f"the tag {tag.name}:{tag.tag} in {address} {now}: somebody else moved it; look, then move it again")


def check_untagged(address: str, version: Version, tags: Iterable[Tag]) -> None:
    """Raise Conflict, naming them, if the version has some of its model's tags."""
    named = ", ".join(tag.tag for tag in tags if tag.label == version.label)
    if named:
        raise Conflict(f"{version} in {address} has the tags {named}: move or remove them first")


def happened(moves: Sequence[TagMove], tag: Tag | None) -> list[TagMove]:
    """The moves that were made, where each is written down before it is made: not a last one that its mover, killed, did not
    come to make. A tag that is not there has none."""
    if tag is None:
        return []
    made = list(moves)
    if made and (made[-1].label, made[-1].digest) != (tag.label, tag.digest):
        last = made[-1]
        if (last.before_label, last.before_digest) == (tag.label, tag.digest):
            made.pop()
    return made


def write_moves(moves: Sequence[TagMove]) -> list[dict[str, Any]]:
    """The last moves of one tag, as JSON has them."""
    return [_written(move) for move in moves[-MOST_MOVES:]]


def read_moves(found: object, name: str, tag: str) -> list[TagMove]:
    """What `write_moves` made; what is no move is left out."""
    items = found[-MOST_MOVES:] if isinstance(found, list) else []
    return [move for item in items if (move := _move(item, name, tag)) is not None]


def printable(text: str) -> str:
    """A text that people will read in a terminal: one line, of printable characters, not too long."""
    return "".join(char if char.isprintable() else " " for char in text[:_MOST_TEXT]).strip()


def _meant(tag: Tag | Whatever | None) -> tuple[str, str] | None:
    return (tag.label, tag.digest) if tag is not None and tag is not ANY else None


def _written(move: TagMove) -> dict[str, Any]:
    found: dict[str, Any] = {"version": move.label, "digest": move.digest, "at": move.at, "by": move.by}
    if move.before_label:
        found["before"] = {"version": move.before_label, "digest": move.before_digest}
    return found | ({"note": move.note} if move.note else {})


def _move(item: object, name: str, tag: str) -> TagMove | None:
    if not isinstance(item, dict):
        return None
    named, before = _version(item), item.get("before")
    stood = _version(before) if isinstance(before, dict) else ("", "")
    if named is None or stood is None:
        return None
    at, by, note = item.get("at"), item.get("by"), item.get("note")
    when = float(at) if isinstance(at, int | float) and 0 <= at < _MOST_SECONDS else 0.0
    return TagMove(
        name,
        tag,
        *named,
        *stood,
        when,
        printable(by) if isinstance(by, str) else "",
        printable(note) if isinstance(note, str) else "",
    )


def _version(item: Mapping[str, Any]) -> tuple[str, str] | None:
    label, digest = item.get("version"), item.get("digest")
    if isinstance(label, str) and isinstance(digest, str) and is_label(label) and is_digest(digest):
        return label, digest
    return None
