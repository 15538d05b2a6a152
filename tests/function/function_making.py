"""Small fine-tunes that share parts, in a folder or a bucket, and a switcher over them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

import hoist
from hoist.config import Config, load_config
from hoist.function.handler import Handler
from hoist.function.model import Model
from hoist.function.states import Budgets
from hoist.function.switch import Switcher
from hoist.function.trace import Trace
from makers import Raw, noise, safetensors_bytes, write_files

MIB = 1 << 20
# A part of a model begins a new block only above a size, so these are as small as models that share can be.
OWN, SHARED = 3 * MIB, 2 * MIB
UNET, VAE = "model.diffusion_model", "first_stage_model"


@cache
def parts_of(seed: int) -> list[Raw]:
    """A fine-tune: a UNet of its own, and the VAE that they all have."""
    unet = noise(OWN, seed)
    vae = noise(SHARED, 1000)
    found = [Raw(f"{UNET}.{n}", "F32", (MIB // 4,), unet[n * MIB : (n + 1) * MIB]) for n in range(OWN // MIB)]
    return found + [Raw(f"{VAE}.{n}", "F16", (MIB // 2,), vae[n * MIB : (n + 1) * MIB]) for n in range(SHARED // MIB)]


def publish_models(root: Path, names: Mapping[str, int]) -> dict[str, str]:
    """Publish fine-tunes by the seeds of their UNets; their locations."""
    locations = {}
    (root / "models").mkdir(parents=True, exist_ok=True)
    for name, seed in names.items():
        source = write_files(
            root / f"source-{name}",
            {"model.safetensors": safetensors_bytes(parts_of(seed)), "config.json": b'{"seed": %d}' % seed},
        )
        locations[name] = f"{root / 'models'}//sd/{name}:v1"
        hoist.publish(source, locations[name])
    return locations


def config_of(tmp_path: Path, **environ: str) -> Config:
    """The configuration of a user whose home is there."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOIST_CACHE": "off"}
    return load_config(home | environ, tmp_path)


@dataclass
class Painter:
    """A handler that notes what it is called with, and can be told to misbehave."""

    loading: Callable[[Model], Any] = lambda model: model.tensors()
    loaded: list[str] = field(default_factory=list)
    unloaded: int = 0
    alive: int = 0
    most: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, model: Model) -> Any:
        found = self.loading(model)
        with self._lock:
            self.loaded.append(model.name)
            self.alive += 1
            self.most = max(self.most, self.alive)
        return found

    def unload(self, held: Any) -> None:
        with self._lock:
            self.unloaded += 1
            self.alive -= 1

    def handler(self) -> Handler:
        return Handler("painter", self.load, lambda held, request: None, self.unload)


def first_bytes(held: Mapping[str, torch.Tensor]) -> bytes:
    """What tells the models apart."""
    return held[f"{UNET}.0"].view(torch.uint8)[:16].numpy().tobytes()


def is_right(held: Mapping[str, torch.Tensor], seed: int) -> bool:
    """Whether these are the tensors of that fine-tune, bit by bit."""
    wanted = {raw.name: raw.data for raw in parts_of(seed)}
    return {name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in held.items()} == wanted


@dataclass
class Serving:
    """A switcher, its handler, and what it told."""

    switcher: Switcher
    painter: Painter
    traces: list[Trace]

    def use(self, name: str, seconds: float = 60.0) -> Any:
        """What the model's object is, for a moment."""
        with self.switcher.acquire(name).result(seconds) as lease:
            return lease.object

    def state(self, name: str) -> str:
        return next(str(each.state) for each in self.switcher.states() if each.name == name)


@contextmanager
def serving(
    locations: Mapping[str, str],
    config: Config,
    painter: Painter | None = None,
    host: int = 1 << 40,
    device: int = 1 << 40,
    **options: Any,
) -> Iterator[Serving]:
    """A switcher over models, closed at the end."""
    painter = painter or Painter()
    traces: list[Trace] = []
    switcher = Switcher(
        dict(locations),
        painter.handler(),
        budgets=Budgets(host, device),
        on_trace=traces.append,
        config=config,
        **options,
    )
    with switcher:
        yield Serving(switcher, painter, traces)
