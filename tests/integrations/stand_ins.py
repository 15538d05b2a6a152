"""Stand-ins for programs too large to be installed for tests: only what Hoist's integrations touch of them, with the
signatures and the order of steps that their sources have. `docs/integrations.md` says against which releases the real
ones were tried.
"""

from __future__ import annotations

import hashlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hoist.integrations.automatic1111.hook import WebInterface


def put_modules(monkeypatch: pytest.MonkeyPatch, **modules: ModuleType) -> None:
    """Let `import A.B` find these, written `A__B`; packages above them are made."""
    for name, module in modules.items():
        parts = name.split("__")
        for at in range(1, len(parts)):
            above = ".".join(parts[:at])
            if above not in sys.modules:
                package = ModuleType(above)
                package.__path__ = []
                monkeypatch.setitem(sys.modules, above, package)
        monkeypatch.setitem(sys.modules, ".".join(parts), module)
        if len(parts) > 1:
            monkeypatch.setattr(sys.modules[".".join(parts[:-1])], parts[-1], module, raising=False)


def vllm_modules() -> tuple[ModuleType, ModuleType]:
    """vLLM's registry of loaders, and the base class of loaders."""
    registry, base = ModuleType("vllm.model_executor.model_loader"), ModuleType("base_loader")
    known: dict[str, type] = {}

    class BaseModelLoader(ABC):
        def __init__(self, load_config: Any) -> None:
            self.load_config = load_config

        @abstractmethod
        def download_model(self, model_config: Any) -> None: ...

        @abstractmethod
        def load_weights(self, model: Any, model_config: Any) -> None: ...

    def register_model_loader(load_format: str) -> Callable[[type], type]:
        def put(loader: type) -> type:
            if not issubclass(loader, BaseModelLoader):
                raise ValueError("no model loader")
            known[load_format] = loader
            return loader

        return put

    def get_model_loader(load_config: Any) -> Any:
        return known[load_config.load_format](load_config)

    registry.__path__ = []
    registry.register_model_loader = register_model_loader  # type: ignore[attr-defined]
    registry.get_model_loader = get_model_loader  # type: ignore[attr-defined]
    base.BaseModelLoader = BaseModelLoader  # type: ignore[attr-defined]
    return registry, base


class WebStandIn:
    """AUTOMATIC1111's list of checkpoints, its cache of hashes, and its reading of a checkpoint."""

    def __init__(self, folder: Path, ckpt_dir: Path | None = None) -> None:
        self.cached: dict[str, dict[str, Any]] = {}
        self.hashed: list[str] = []
        self.dumped = 0
        self.titles: list[str] = []
        self.sd_models = SimpleNamespace(
            model_path=str(folder),
            list_models=self._list_models,
            read_state_dict=self._read_state_dict,
            get_state_dict_from_checkpoint=lambda found: found.pop("state_dict", found),
        )
        self.hashes = SimpleNamespace(
            cache=lambda section: self.cached if section == "hashes" else {}, dump_cache=self._dump_cache
        )
        self.shared = SimpleNamespace(
            cmd_opts=SimpleNamespace(ckpt_dir=str(ckpt_dir) if ckpt_dir else None), weight_load_location=None
        )
        self.devices = SimpleNamespace(get_optimal_device_name=lambda: "cpu")
        self.interface = WebInterface(self.sd_models, self.hashes, self.shared, self.devices)

    def sha256(self, filename: str, title: str) -> str:
        """What is shown of a checkpoint: cached where the file is no newer, else the file is read."""
        known = self.cached.get(title)
        if known and os.path.getmtime(filename) <= known["mtime"]:  # noqa: PTH204 as there
            return str(known["sha256"])
        self.hashed.append(title)
        return hashlib.sha256(Path(filename).read_bytes()).hexdigest()

    def _list_models(self) -> None:
        self.titles = []
        places = [Path(self.sd_models.model_path), *map(Path, filter(None, [self.shared.cmd_opts.ckpt_dir]))]
        for root in places:
            for path in sorted(root.rglob("*")):
                if path.suffix in (".ckpt", ".safetensors"):
                    name = str(path.relative_to(root))
                    self.titles.append(f"{name} [{self.sha256(str(path), f'checkpoint/{name}')[:10]}]")

    def _read_state_dict(self, checkpoint_file: str, print_global_state: bool = False, map_location: Any = None) -> Any:
        from safetensors.torch import load_file

        return load_file(checkpoint_file)

    def _dump_cache(self) -> None:
        self.dumped += 1
