"""Small versions of real kinds of models, published, and sources that note what was read and given."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Self

import torch

from hoist.integrations.source import VersionSource
from hoist.model.reference import parse_location
from hoist.read.connect import connect
from hoist.read.version import OpenedVersion, open_version
from hoist.storage.base import StoredFile
from hoist.storage.wrap import Counting
from hoist.tensors.device import torch_device

EXAMPLES = Path(__file__).parents[2] / "examples"
SCALE = 0.02


def example(name: str) -> Any:
    """A module of an example, such as `llm/handler`."""
    alias = "example_" + name.replace("/", "_")
    if alias not in sys.modules:
        spec = spec_from_file_location(alias, EXAMPLES / f"{name}.py")
        assert spec
        assert spec.loader
        sys.modules[alias] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[alias])
    return sys.modules[alias]


class Remote(Counting):
    """A directory that looks like a far storage: nothing of it is mapped, every byte is counted."""

    def local_path(self, file: StoredFile) -> None:
        return None

    def is_local(self, file: StoredFile) -> bool:
        return False


def open_counted(location: str) -> tuple[OpenedVersion, Remote]:
    """An opened version, and what counts the bytes that are read of it."""
    where = parse_location(location)
    storage = Remote(connect(where.storage)[0])
    return open_version(storage, where.reference), storage


class Watched(VersionSource):
    """Notes the memory of all tensors that it gives."""

    def __init__(self, opened: OpenedVersion, device: str = "cpu") -> None:
        super().__init__(opened, torch_device(device))
        self.memory: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def tensors(
        self, path: str | None = None, *, prefix: str | None = None, leave_out: str | None = None
    ) -> Mapping[str, torch.Tensor]:
        found = super().tensors(path, prefix=prefix, leave_out=leave_out)
        self.memory |= {tensor.untyped_storage().data_ptr() for tensor in found.values()}
        return found

    def load_checkpoint(self, path: str | None = None) -> Any:
        found = super().load_checkpoint(path)
        self.memory |= {tensor.untyped_storage().data_ptr() for tensor in found["state_dict"].values()}
        return found

    def copies(self, module: torch.nn.Module) -> set[str]:
        """The module's parameters that lie in other memory than the tensors given."""
        named = module.named_parameters(remove_duplicate=False)
        return {name for name, each in named if each.untyped_storage().data_ptr() not in self.memory}
