"""What to say when a version is not there: the nearest names that are."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

from hoist.errors import HoistError
from hoist.model.reference import Reference

if TYPE_CHECKING:
    from hoist.storage.base import Storage

_LOOK_AT = 10_000
_SHOW = 5


def describe_absence(storage: Storage, reference: Reference) -> str:
    """A sentence for VersionNotFound: what was asked for, and what the storage has that is near it."""
    message = f"{storage.address} has no version or tag {reference}"
    try:
        return message + _nearest(storage, reference)
    except HoistError:
        # A public bucket may be readable and not listable: that is no news to who asked for a version.
        return message


def _nearest(storage: Storage, reference: Reference) -> str:
    labels = [version.label for version in storage.versions(reference.name)]
    labels += [tag.tag for tag in storage.tags(reference.name)]
    if labels:
        near = get_close_matches(reference.label or "", labels, _SHOW, 0.3) or labels[-_SHOW:]
        shown = labels if len(labels) <= _SHOW else near
        return f"; {reference.name} has {', '.join(shown)}" + (", ..." if len(labels) > len(shown) else "")
    names = sorted({version.name for version in islice(storage.versions(), _LOOK_AT)})
    near = get_close_matches(reference.name, names, _SHOW, 0.4)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; see what it has with: hoist list {storage.address}" if names else "; it is empty"
