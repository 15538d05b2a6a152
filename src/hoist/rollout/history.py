"""How tags came to name what they name: read from any storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hoist.config import Config
from hoist.errors import HoistError, UsageError, VersionNotFound
from hoist.model.reference import check_label, check_name, split_location
from hoist.parallel import for_each
from hoist.read.connect import connect
from hoist.storage.base import Storage, Tag
from hoist.storage.moves import TagMove

_LOCATIONS_AT_ONCE = 16
_TAGS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class TagHistory:
    """What a tag names, and its moves, the oldest first; none are known of one that an older Hoist or another tool moved."""

    now: Tag
    moves: tuple[TagMove, ...]


@dataclass(frozen=True, slots=True)
class History:
    """The tags of a model in one storage, or the one that was asked for. `error` says why they cannot be told."""

    storage: str
    name: str
    tags: tuple[TagHistory, ...] = ()
    error: HoistError | None = None


def read_histories(locations: Sequence[str], config: Config) -> list[History]:
    """See `hoist.verbs.history`."""
    asked = [_parse(text) for text in dict.fromkeys(locations)]
    if not asked:
        raise UsageError("say whose history, as STORAGE//NAME or STORAGE//NAME:TAG")
    return for_each(lambda each: _history(*each, config), asked, _LOCATIONS_AT_ONCE)


def no_tag(storage: Storage, address: str, name: str, tag: str) -> VersionNotFound:
    """The error of a tag that is not there, which names some that are. Raises what a storage may."""
    tags = sorted(each.tag for each in storage.tags(name))
    there = f"; {name} has the tags {', '.join(tags[:_TAGS_SHOWN])}" if tags else ""
    return VersionNotFound(f"{address} has no tag {name}:{tag}{there}")


def _parse(text: str) -> tuple[str, str, str]:
    storage, reference = split_location(text)
    name, colon, tag = reference.partition(":")
    return storage, check_name(name), check_label(tag) if colon else ""


def _history(address: str, name: str, tag: str, config: Config) -> History:
    try:
        storage, _ = connect(address, config)
        with storage:
            return History(address, name, tuple(_tags(storage, address, name, tag)))
    except UsageError:
        raise
    except HoistError as error:
        return History(address, name, error=error)


def _tags(storage: Storage, address: str, name: str, tag: str) -> list[TagHistory]:
    found = storage.find_tag(name, tag) if tag else None
    if tag and found is None:
        raise no_tag(storage, address, name, tag)
    tags = [found] if found else list(storage.tags(name))
    if not tags and next(iter(storage.versions(name)), None) is None:
        raise VersionNotFound(f"{address} has no model {name}")
    moves = storage.tag_moves(name, tag) if tags else ()
    return [TagHistory(each, tuple(move for move in moves if move.tag == each.tag)) for each in tags]
