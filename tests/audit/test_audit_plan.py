"""Audits of a plan's storages: what is missing, stale or too much there; with a repair it is brought about."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_making import flip, folders, told

import hoist
from hoist.config import Config, StorageConfig
from hoist.errors import UsageError
from makers import noise, write_files

FILES = {"w.bin": noise(100_000, 5)}


def planned(config: Config, tmp_path: Path, name: str = "production", source: str = "a", **fields: Any) -> Config:
    """The same configuration with a plan from `source` to `b` and `c`."""
    table = {"from": source, "to": ["b", "c"], "_from": "hoist.toml", "_base": str(tmp_path), **fields}
    return replace(config, plans={**config.plans, name: table})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Directories `a`, `b` and `c` and a plan; `a` has two versions and a tag."""
    config = planned(folders(tmp_path, "a", "b", "c"), tmp_path)
    for label, seed in (("v1", 1), ("v2", 2)):
        source = write_files(tmp_path / label, {"w.bin": noise(100_000, seed)})
        hoist.publish(source, f"a//m/one:{label}", config=config)
    hoist.tag("a//m/one:v2", "stable", config=config)
    return config


def test_in_step(config: Config) -> None:
    hoist.sync(config=config)
    for places in ((), ("production",)):
        done = hoist.audit(*places, sample="whole", config=config)
        assert (told(done), done.clean, done.plan) == ([], True, "production")
        assert [each.storage for each in done.storages] == ["a", "b", "c"]


def test_missing_and_stale(config: Config) -> None:
    hoist.copy("a//m/one:v1", "b", tags=["stable"], config=config)
    done = hoist.audit(config=config)
    assert told(done) == [
        ("missing", "b", "m/one:v2"),
        ("stale-tag", "b", "m/one:stable"),
        ("missing", "c", "m/one:v1"),
        ("missing", "c", "m/one:v2"),
        ("stale-tag", "c", "m/one:stable"),
    ]
    assert not done.clean
    assert {item.mend for item in done.findings} == {"hoist sync production"}
    details = [item.detail for item in done.findings if item.kind == "stale-tag"]
    assert details == [
        "it names m/one:v1; a has it at m/one:v2",
        "the tag is not here; a has it at m/one:v2",
    ]
    mended = hoist.audit(repair=True, config=config)
    assert told(mended) == told(done)
    assert all(item.repaired for item in mended.findings)
    assert mended.clean
    assert told(hoist.audit(sample="whole", config=config)) == []


def test_repaired_before_it_is_brought(config: Config, tmp_path: Path) -> None:
    """What is damaged in the source is healed from a target, and then goes to the other."""
    hoist.copy("a//m/one:v1", "b", config=config)
    flip(tmp_path / "a/m/one/v1/w.bin", 7)
    done = hoist.audit(sample="whole", repair=True, config=config)
    assert done.clean, done.findings
    assert told(done)[0] == ("damaged", "a", "m/one:v1/w.bin")
    assert (tmp_path / "c/m/one/v1/w.bin").read_bytes() == noise(100_000, 1)


def test_a_tag_whose_version_comes_back(config: Config, tmp_path: Path) -> None:
    hoist.sync(config=config)
    for folder in ("b/.hoist/versions/m/one/v2", "b/m/one/v2"):
        shutil.rmtree(tmp_path / folder)
    assert told(hoist.audit(sample="none", config=config)) == [
        ("missing", "b", "m/one:v2"), ("stale-tag", "b", "m/one:stable"),
    ]  # fmt: skip
    assert hoist.audit(repair=True, config=config).clean
    assert told(hoist.audit(sample="whole", config=config)) == []


def test_too_much(config: Config, tmp_path: Path) -> None:
    hoist.sync(config=config)
    hoist.publish(write_files(tmp_path / "own", FILES), "b//m/own:v1", config=config)
    hoist.tag("b//m/own:v1", "mine", config=config)
    done = hoist.audit(config=config)
    # Nobody else has it: a note.
    assert [(item.kind, item.severity, item.what) for item in done.findings] == [
        ("extra", "note", "m/own:mine"), ("extra", "note", "m/own:v1"),
    ]  # fmt: skip
    assert done.clean
    pruning = planned(config, tmp_path, keep=1, prune=True)
    done = hoist.audit(config=pruning)
    extra = [(item.severity, item.storage, item.what) for item in done.findings if item.severity != "note"]
    assert extra == [("warning", "b", "m/one:v1"), ("warning", "c", "m/one:v1")]
    # A repair removes nothing.
    assert not hoist.audit(repair=True, config=pruning).clean
    assert len(hoist.list("b", "m/one", config=config)) == 2


def test_another_content_under_the_same_label(config: Config, tmp_path: Path) -> None:
    hoist.publish(write_files(tmp_path / "other", FILES), "b//m/one:v1", config=config)
    before = (tmp_path / "b/m/one/v1/w.bin").read_bytes()
    done = hoist.audit(repair=True, config=config)
    assert [(item.kind, item.what) for item in done.findings if item.left] == [("conflict", "m/one:v1")]
    assert (tmp_path / "b/m/one/v1/w.bin").read_bytes() == before


def test_a_target_or_the_source_that_is_away(config: Config, tmp_path: Path) -> None:
    (tmp_path / "c").rmdir()
    done = hoist.audit(repair=True, config=config)
    left = [(item.kind, item.storage) for item in done.findings if item.left]
    assert {storage for _, storage in left} == {"c"}
    assert len(hoist.list("b", config=config)) == 2
    (tmp_path / "a").rename(tmp_path / "away")
    done = hoist.audit(repair=True, config=config)
    assert {item.kind for item in done.findings} == {"unreachable"}
    assert {item.storage for item in done.findings} == {"a", "c"}


def test_which_plan(config: Config, tmp_path: Path) -> None:
    two = planned(config, tmp_path, "staging", to=["b"])
    with pytest.raises(UsageError):
        hoist.audit(config=two)
    with pytest.raises(UsageError):
        hoist.audit("staging", "a", config=two)
    assert [each.storage for each in hoist.audit("staging", config=two).storages] == ["a", "b"]
    assert [each.storage for each in hoist.audit("c", "a", config=two).storages] == ["c", "a"]
    (tmp_path / "plan.toml").write_text('[sync.own]\nfrom = "./a"\nto = ["./c"]\n')
    done = hoist.audit(str(tmp_path / "plan.toml"), config=two)
    assert (done.plan, [each.versions for each in done.storages]) == ("own", [2, 0])


def test_a_logical_storage_is_its_members(config: Config, tmp_path: Path) -> None:
    """What one of them lacks or has damaged is not made up for by another."""
    logical = StorageConfig("models", "any://a,b", kind="any", members=(config.storages["a"], config.storages["b"]))
    config = replace(config, storages={**config.storages, "models": logical})
    hoist.copy("a//m/one:v1", "b", config=config)
    flip(tmp_path / "a/m/one/v1/w.bin", 7)
    found = hoist.audit("models", sample="whole", config=config)
    assert [each.storage for each in found.storages] == ["a", "b"]
    assert told(found) == [("damaged", "a", "m/one:v1/w.bin")]
    assert hoist.audit("models", "b", sample="whole", repair=True, config=config).clean
    from_it = planned(config, tmp_path, source="models", to=["c"])
    done = hoist.audit(config=from_it)
    assert [each.storage for each in done.storages] == ["a", "b", "c"]
    assert told(done) == [
        ("missing", "c", "m/one:v1"),
        ("missing", "c", "m/one:v2"),
        ("stale-tag", "c", "m/one:stable"),
    ]
