"""The wait before the first weights: once a process, only for what is remote, and only where it is not here already."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hoist.config import EngineConfig, load_config
from hoist.errors import InvalidConfig
from hoist.read import jitter
from hoist.read.cache.host import HostCache
from hoist.read.engine import Engine
from hoist.read.version import open_version
from makers import V1, directory_storage, memory_storage, put_version

JITTER = EngineConfig(start_jitter=0.5)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were asked for, in a process that has not waited yet."""
    found: list[float] = []
    monkeypatch.setattr(jitter, "_WAITED", False)
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def test_a_process_waits_once_and_no_longer_than_it_may(waits: list[float]) -> None:
    for _ in range(3):
        jitter.wait_once(0.5)
    assert len(waits) == 1
    assert 0 <= waits[0] <= 0.5


def test_only_what_is_remote_and_new_here_is_waited_for(waits: list[float], tmp_path: Path) -> None:
    local, remote = directory_storage(tmp_path / "storage"), memory_storage()
    cache = HostCache(tmp_path / "cache")
    for storage in (local, remote):
        put_version(storage, {"w": b"weights"}, 4)
    open_version(local, V1, Engine(JITTER))
    open_version(remote, V1, Engine())
    assert not waits
    known = open_version(remote, V1, Engine(), cache)
    assert len(known.table.files) == 1
    open_version(remote, V1, Engine(JITTER), cache)
    assert not waits, "this host has had the version"
    open_version(remote, V1, Engine(JITTER))
    assert len(waits) == 1


def test_it_is_configured_or_off(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    assert load_config(environ, tmp_path).engine.start_jitter is None
    assert load_config(environ | {"HOIST_START_JITTER": "0.25"}, tmp_path).engine.start_jitter == 0.25
    for wrong in ("-1", "nan", "61", "soon"):
        with pytest.raises(InvalidConfig, match="start_jitter"):
            load_config(environ | {"HOIST_START_JITTER": wrong}, tmp_path)
