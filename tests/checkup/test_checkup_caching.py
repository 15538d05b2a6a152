"""What the doctor says of the host cache and the mount."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hoist.checkup import caching
from hoist.checkup.caching import check_caching
from hoist.checkup.report import Finding
from hoist.config import load_config
from hoist.mount.device import file_system_of
from hoist.mount.live import LiveMounts

ROOT = os.geteuid() == 0


def findings(home: Path, **environ: str) -> dict[str, Finding]:
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(home / "run"), **environ}
    return {item.name: item for item in check_caching(load_config(env, home))}


def test_a_cache_that_nobody_has_used_yet(tmp_path: Path) -> None:
    found = findings(tmp_path, HOIST_CACHE_SIZE="2GiB")["host cache"]
    assert found.status == "ok"
    assert found.detail.startswith(f"{tmp_path}/.cache/hoist/blocks, 0.0 GiB of at most 2.0 (configured), ")
    assert "for mounts alone" in found.detail
    assert found.figures["limit_bytes"] == 2 << 30
    assert not (tmp_path / ".cache").exists()
    assert "for loads, pulls and mounts" in findings(tmp_path, HOIST_CACHE="on")["host cache"].detail


def test_what_is_wrong_with_a_cache_is_told_with_its_mend(tmp_path: Path) -> None:
    off = findings(tmp_path, HOIST_CACHE="off")["host cache"]
    assert (off.status, "switched off" in off.detail, "HOIST_CACHE=on" in off.mend) == ("missing", True, True)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    found = findings(tmp_path, HOIST_CACHE=str(shared))["host cache"]
    assert (found.status, "others may write there" in found.detail, "HOIST_CACHE" in found.mend) == (
        "warning",
        True,
        True,
    )
    small = findings(tmp_path, HOIST_CACHE_SIZE="10MiB")["host cache"]
    assert (small.status, "few models fit" in small.detail, "hoist cache limit" in small.mend) == (
        "warning",
        True,
        True,
    )
    nowhere = findings(tmp_path, HOIST_CACHE="/proc/nowhere")["host cache"]
    assert (nowhere.status, "no local disk" in nowhere.detail) == ("warning", True)


def test_fuse_and_passthrough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = findings(tmp_path)
    if here["FUSE"].status == "ok" and ROOT and here["passthrough"].status == "ok":
        assert (file_system_of(tmp_path) or "?") in here["passthrough"].detail
    monkeypatch.setattr("platform.release", lambda: "5.15.0-91-generic")
    old = findings(tmp_path)["passthrough"]
    assert (old.status, bool(old.mend)) == ("missing", True)
    monkeypatch.setattr(caching, "_DEVICE", tmp_path / "none")
    none = findings(tmp_path)
    assert (none["FUSE"].status, "modprobe fuse" in none["FUSE"].mend) == ("missing", True)
    assert none["passthrough"].mend == "see FUSE"


def test_live_mounts_are_named(tmp_path: Path) -> None:
    assert "mounts" not in findings(tmp_path)
    LiveMounts(tmp_path / "run" / "hoist").note("/mnt/models", ["oss"], None, "")
    found = findings(tmp_path)["mounts"]
    assert (found.status, found.detail) == ("ok", "served: /mnt/models")
