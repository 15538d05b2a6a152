"""A checkpoint of torch.distributed.checkpoint, published and read back through `hoist://`."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from integration_making import configure

import hoist
from hoist.integrations.fsspec import HoistFileSystem

fsspec: Any = pytest.importorskip("fsspec")


def test_a_distributed_checkpoint_loads_from_a_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dcp: Any = import_module("torch.distributed.checkpoint")
    from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader

    fsspec.register_implementation("hoist", HoistFileSystem, clobber=True)
    HoistFileSystem.clear_instance_cache()
    configure(monkeypatch, tmp_path, nas=str(tmp_path / "nas"))
    (tmp_path / "nas").mkdir()
    torch.manual_seed(1)
    saved: Any = {"layer": {"weight": torch.randn(700, 300), "bias": torch.randn(300)}, "step": torch.tensor(7)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no process group here
        dcp.save(saved, checkpoint_id=tmp_path / "dcp")
        hoist.publish(tmp_path / "dcp", "nas//train/run1:step7")
        loaded: Any = {"layer": {"weight": torch.zeros(700, 300), "bias": torch.zeros(300)}, "step": torch.tensor(0)}
        dcp.load(loaded, storage_reader=FsspecReader("hoist://nas//train/run1:step7"))
    assert torch.equal(loaded["layer"]["weight"], saved["layer"]["weight"])
    assert torch.equal(loaded["layer"]["bias"], saved["layer"]["bias"])
    assert int(loaded["step"]) == 7
