"""Storage states and plans for tests, in few words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hoist.storage.base import Tag, Version
from hoist.storage.seen import Seen
from hoist.sync.plan import SyncPlan, parse_plan
from hoist.sync.state import StorageState


def plan(**fields: Any) -> SyncPlan:
    """A plan from `eu` to `us`, as hoist.toml would say it."""
    return parse_plan("test", {"from": "eu", "to": ["us"], **fields}, "[sync.test]", Path("/plans"))


def digest(text: str) -> str:
    """A digest that differs where `text` does."""
    return "sha256:" + text.encode().hex().rjust(64, "0")[-64:]


def state(versions: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> StorageState:
    """`versions`: NAME:LABEL to a content, or to a content and when it was published; `tags`: NAME:TAG to a label."""
    seen = {}
    for text, said in versions.items():
        content, at = said if isinstance(said, tuple) else (said, 0.0)
        seen[version(text)] = Seen(at, digest(content))
    named = {}
    for text, label in (tags or {}).items():
        name, _, tag = text.partition(":")
        found = seen.get(Version(name, label))
        named[name, tag] = Tag(name, tag, label, found.digest if found else digest("gone"))
    return StorageState("a storage", seen, named)


def version(text: str) -> Version:
    name, _, label = text.partition(":")
    return Version(name, label)
