"""Audits tell of versions without the signature that a storage requires, of all of them at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from audit_making import folders, only, published, told

import hoist
from hoist.config import Config, StorageConfig
from hoist.errors import HoistError
from signing_making import make_pair

SMALL = {"w.bin": b"w" * 1000}


def requiring(config: Config, *keys: Path) -> Config:
    wanted = replace(config.storages["a"], require_signature=tuple(map(str, keys)))
    return replace(config, storages={**config.storages, "a": wanted})


def test_unsigned(tmp_path: Path) -> None:
    ours, theirs = make_pair(tmp_path, "ours"), make_pair(tmp_path, "theirs")
    config = folders(tmp_path, "a")
    published(config, tmp_path, "a//m/one:v1", "a//m/one:v2", "a//m/one:v3", files=SMALL)
    hoist.sign("a//m/one:v1", ours.private, config=config)
    hoist.sign("a//m/one:v2", theirs.private, config=config)
    assert told(hoist.audit("a", sample="whole", config=config)) == []
    strict = requiring(config, ours.public)
    done = hoist.audit("a", sample="whole", config=strict)
    assert told(done) == [("unsigned", "a", "m/one:v2"), ("unsigned", "a", "m/one:v3")]
    assert not done.clean
    # They are looked at all the same.
    assert done.storages[0].read_bytes == 3000
    assert (
        hoist.audit("a", sample="none", config=requiring(config, ours.public, theirs.public)).findings[0].what
        == "m/one:v3"
    )
    hoist.sign("a//m/one:v2", ours.private, config=strict)
    hoist.sign("a//m/one:v3", ours.private, config=strict)
    assert told(hoist.audit("a", sample="whole", config=strict)) == []


def test_what_a_logical_storage_requires_is_asked_of_its_members(tmp_path: Path) -> None:
    ours = make_pair(tmp_path, "ours")
    config = folders(tmp_path, "a", "b")
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1", files=SMALL)
    hoist.sign("a//m/one:v1", ours.private, config=config)
    members = (config.storages["a"], config.storages["b"])
    logical = StorageConfig("models", "any://a,b", "any", members=members, require_signature=(str(ours.public),))
    config = replace(config, storages={**config.storages, "models": logical})
    assert told(hoist.audit("a", "b", config=config)) == []
    found = only(hoist.audit("models", config=config))
    assert (found.kind, found.storage) == ("unsigned", "b")


def test_a_key_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    config = folders(tmp_path, "a")
    with pytest.raises(HoistError, match=r"gone\.pub"):
        hoist.audit("a", config=requiring(config, tmp_path / "gone.pub"))
