"""What was seen in a storage at some time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hoist.errors import HoistError
from hoist.storage.base import Tag, Version
from hoist.storage.seen import Seen


@dataclass(frozen=True)
class StorageState:
    """Versions and tags (by model and tag) of a storage; `error` says why it could not be seen, and then there are none."""

    address: str
    versions: Mapping[Version, Seen] = field(default_factory=dict)
    tags: Mapping[tuple[str, str], Tag] = field(default_factory=dict)
    error: HoistError | None = None
