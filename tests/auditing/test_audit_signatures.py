"""Audits where signatures are required: what is not signed is found, and nothing is said of what is."""

from __future__ import annotations

import warnings
from pathlib import Path

from auditing_making import config_of, only, published, told

import hoist
from hoist.config import StorageConfig
from hoist.errors import HoistWarning
from signing_making import make_pair


def test_an_unsigned_version(tmp_path: Path) -> None:
    release, other = make_pair(tmp_path, "release"), make_pair(tmp_path, "other")
    signers = (str(release.public),)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    places = [
        StorageConfig("a", str(tmp_path / "a"), require_signature=signers),
        StorageConfig("b", str(tmp_path / "b")),
    ]
    config = config_of(*places, home=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HoistWarning)
        published(config, tmp_path, "a//m/one:v1", "b//m/one:v1")
    hoist.sign("a//m/one:v1", other.private, config=config)
    found = only(hoist.audit("a", "b", sample="whole", config=config))
    assert (found.kind, found.severity, found.storage, found.what) == ("unsigned", "error", "a", "m/one:v1")
    assert "it is by another key" in found.detail
    assert "hoist sign a//m/one:v1" in found.mend
    hoist.sign("a//m/one:v1", release.private, config=config)
    assert told(hoist.audit("a", "b", sample="whole", config=config)) == []
