"""Folders with published versions, and the configuration of who reads them."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Mapping
from pathlib import Path

import pytest

import hoist
from makers import Raw, safetensors_bytes, write_files

NAMES = ("blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "head.weight")


def weights(seed: int, names: tuple[str, ...] = NAMES, floats: int = 1 << 12) -> bytes:
    """A safetensors file of some tensors, with free metadata."""
    tensors = [Raw(name, "F32", (floats // 64, 64), _numbers(floats, seed * 100 + at)) for at, name in enumerate(names)]
    return safetensors_bytes(tensors, {"made_by": f"seed {seed}"})


def _numbers(count: int, seed: int) -> bytes:
    """Floats that are equal to themselves: 4096 of them, again and again, each time a little further."""
    rng = random.Random(seed)
    some = [rng.uniform(-1, 1) for _ in range(min(count, 4096))]
    return b"".join(array("f", (value + at for value in some)).tobytes() for at in range(count // len(some)))


def publish_files(root: Path, reference: str, files: Mapping[str, bytes]) -> str:
    """Publish files into the storage at `root`; the location."""
    source = root.parent / f"source-{hashlib.sha256(reference.encode()).hexdigest()[:12]}"
    write_files(source, files)
    root.mkdir(parents=True, exist_ok=True)
    hoist.publish(source, f"{root}//{reference}")
    return f"{root}//{reference}"


def configure(monkeypatch: pytest.MonkeyPatch, home: Path, **storages: str) -> None:
    """Make `home` a user's: with these storages in its hoist.toml, and nothing else."""
    tables = "".join(f'[storage.{name}]\nurl = "{url}"\n' for name, url in storages.items())
    write_files(home, {"hoist.toml": tables.encode()})
    monkeypatch.setenv("HOIST_CONFIG", str(home / "hoist.toml"))
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "HOIST_CACHE"):
        monkeypatch.delenv(name, raising=False)
