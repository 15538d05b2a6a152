"""Opens memory://NAME: storages of this process, shared by name."""

from __future__ import annotations

from collections.abc import Mapping

from hoist.config import StorageConfig
from hoist.storage.base import Storage
from hoist.storage.memory import MemoryObjects
from hoist.storage.tree import TreeStorage

_HELD: dict[str, MemoryObjects] = {}


def open_storage(config: StorageConfig, kind: str, environ: Mapping[str, str]) -> Storage:
    """The memory of that name, made when it is first opened."""
    return TreeStorage(_HELD.setdefault(config.url, MemoryObjects(config.address)), kind)
