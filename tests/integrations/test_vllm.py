"""The loader for vLLM: its options, and weights that stream into a model, in the order of the files."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from integration_making import NAMES, configure, publish_files, weights
from stand_ins import put_modules, vllm_modules

from hoist.errors import HoistError, InvalidFile, InvalidReference, UsageError
from hoist.integrations.vllm import LoaderOptions, parse_options, register


class Model(torch.nn.Module):
    """A model as vLLM's are: it copies each tensor that comes into its parameter, and says which it got."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.weights = {name: torch.nn.Parameter(torch.zeros(64, 64)) for name in names}

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        return iter(self.weights.items())

    def load_weights(self, tensors: Any) -> set[str]:
        for name, tensor in tensors:
            self.seen.append(name)
            self.weights[name].data.copy_(tensor)
        return set(self.seen)


@pytest.fixture
def get_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What vLLM does with `--load-format hoist`: its plugins are run, then the loader is made with what it is told."""
    configure(monkeypatch, tmp_path, nas=str(tmp_path / "nas"))
    registry, base = vllm_modules()
    put_modules(
        monkeypatch,
        vllm__model_executor__model_loader=registry,
        vllm__model_executor__model_loader__base_loader=base,
    )
    monkeypatch.delitem(sys.modules, "hoist.integrations.vllm_loader", raising=False)
    register()
    register()

    def get(**told: Any) -> Any:
        config = SimpleNamespace(load_format="hoist", model_loader_extra_config=told)
        return registry.get_model_loader(config)

    yield get
    sys.modules.pop("hoist.integrations.vllm_loader", None)


@pytest.mark.parametrize("batch", ["8KiB", "256MiB"])
def test_weights_stream_into_the_model(get_loader: Any, tmp_path: Path, batch: str) -> None:
    publish_files(tmp_path / "nas", "llm/tiny:v1", {"model.safetensors": weights(1), "config.json": b"{}"})
    model = Model(NAMES)
    loader = get_loader(location="nas//llm/tiny:v1", batch=batch)
    loader.download_model(SimpleNamespace())
    loader.load_weights(model, SimpleNamespace(quantization=None))
    assert model.seen == list(NAMES)
    from safetensors.torch import load

    for name, tensor in load(weights(1)).items():
        assert torch.equal(model.weights[name].data, tensor), name


def test_a_version_that_lacks_weights_is_refused(get_loader: Any, tmp_path: Path) -> None:
    publish_files(tmp_path / "nas", "llm/tiny:v1", {"model.safetensors": weights(1)})
    model = Model((*NAMES, "lm_head.weight"))
    loader = get_loader(location="nas//llm/tiny:v1")
    with pytest.raises(InvalidFile, match=r"lacks 1 weights .* such as lm_head\.weight"):
        loader.load_weights(model, SimpleNamespace(quantization=None))
    loader.load_weights(model, SimpleNamespace(quantization="fp8"))
    with pytest.raises(HoistError, match="no version"):
        get_loader(location="nas//llm/tiny:v2").load_weights(model, SimpleNamespace(quantization=None))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, UsageError, "model-loader-extra-config"),
        ({"location": "nas//m:v1", "num_threads": 8}, UsageError, "has no 'num_threads'"),
        ({"location": "m"}, InvalidReference, "not a location"),
        ({"location": "nas//m:v1", "files": [1]}, UsageError, "a list of them"),
        ({"location": "nas//m:v1", "batch": 0}, UsageError, "a size"),
    ],
)
def test_what_has_no_meaning_is_refused(given: Any, error: type[HoistError], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_options(given)


def test_options() -> None:
    assert parse_options({"location": "nas//m:v1", "files": "a.safetensors", "batch": "1MiB", "device": "cuda"}) == (
        LoaderOptions("nas//m:v1", ("a.safetensors",), "cuda", 1 << 20)
    )
