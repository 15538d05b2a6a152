"""Storage states, plans and whole regions for tests, in few words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import hoist
from hoist.config import Config, load_config
from hoist.read.connect import connect
from hoist.read.engine import Engine
from hoist.storage.base import Storage, Tag, Version
from hoist.storage.seen import Seen
from hoist.sync import run
from hoist.sync.plan import SyncPlan, parse_plan
from hoist.sync.result import SyncResult
from hoist.sync.state import StorageState
from hoist.transfer import copying
from makers import write_files


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


class Regions:
    """Storages by name, as a user's hoist.toml has them, and a plan `production` from the first to the others."""

    def __init__(self, home: Path, storages: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self.home = home
        self.storages = dict(storages)
        self.environ = {"HOME": str(home), "HOIST_CONFIG": str(home / "hoist.toml"), **environ}
        self.plan()

    def plan(self, **fields: Any) -> None:
        """Say the plan anew."""
        names = list(self.storages)
        table = {"from": names[0], "to": names[1:], **fields}
        lines = [f"[storage.{name}]\n{text}\n" for name, text in self.storages.items()]
        lines += ["[sync.production]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        (self.home / "hoist.toml").write_text("\n".join(lines))

    @property
    def config(self) -> Config:
        return load_config(self.environ, self.home)

    def publish(self, location: str, *files: bytes, tags: Sequence[str] = ()) -> str:
        """Publish a version of these files; its digest."""
        folder = self.home / f"source-{uuid4().hex}"
        write_files(folder, {f"{number}.bin": data for number, data in enumerate(files)})
        return hoist.publish(folder, location, tags=tags, config=self.config).digest

    def sync(self, **options: Any) -> SyncResult:
        return hoist.sync("production", config=self.config, **options)

    def state(self, storage: str) -> tuple[dict[str, str], dict[str, str]]:
        """Versions by their digests, and tags by what they name."""
        listed = hoist.list(storage, config=self.config)
        versions = {str(each.version): each.digest for each in listed}
        tags = {f"{each.version.name}:{tag}": each.version.label for each in listed for tag in each.tags}
        return versions, tags

    def verified(self, storage: str) -> None:
        """Every version in a storage is whole."""
        for each in self.state(storage)[0]:
            assert not hoist.verify(f"{storage}//{each}", config=self.config).damaged

    @contextmanager
    def opened(self, storage: str) -> Iterator[Storage]:
        found, _ = connect(storage, self.config)
        with found:
            yield found


def in_step(regions: Regions, *targets: str) -> None:
    """These targets, or all storages, hold what the first one does."""
    first, *others = targets or regions.storages
    there = regions.state(first)
    for target in others:
        assert regions.state(target) == there, target


def wrapped(monkeypatch: pytest.MonkeyPatch, wrappers: dict[str, Callable[[Storage], Storage]]) -> None:
    """Let runs see some storages through wrappers."""

    def connect_wrapped(address: str, config: Config | None = None) -> tuple[Storage, Engine]:
        storage, engine = connect(address, config)
        return (wrappers[address](storage) if address in wrappers else storage), engine

    # The source, and the targets.
    for module in (run, copying):
        monkeypatch.setattr(module, "connect", connect_wrapped)
