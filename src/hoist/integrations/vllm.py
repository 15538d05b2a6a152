"""vLLM's model loader `--load-format hoist`: what its plugin system calls, and what the loader is told.

    vllm serve ./qwen --load-format hoist --model-loader-extra-config '{"location": "nas//llm/qwen:v1"}'

`./qwen` holds the model's small files (configuration, tokenizer), as `hoist pull --include` brings them; the weights come
from the location. This module imports vLLM only when vLLM calls `register`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hoist.errors import UsageError
from hoist.model.reference import parse_location
from hoist.settings import parse_size

LOAD_FORMAT = "hoist"
_KEYS = ("location", "files", "device", "batch")


@dataclass(frozen=True)
class LoaderOptions:
    """What `--model-loader-extra-config` says: where the weights are, which files (default: the one there is, or all
    shards of the index), the device that batches are brought to, and the bytes of a batch."""

    location: str
    files: tuple[str, ...] = ()
    device: str = "cpu"
    batch_bytes: int = 256 << 20


def parse_options(given: object) -> LoaderOptions:
    """The options in vLLM's dictionary. Raises UsageError, InvalidReference, InvalidConfig with the mend."""
    if not isinstance(given, Mapping) or not isinstance(given.get("location"), str):
        raise UsageError(
            f"--load-format {LOAD_FORMAT} needs to know where the weights are: "
            '--model-loader-extra-config \'{"location": "nas//llm/qwen:v1"}\''
        )
    unknown = sorted(set(map(str, given)) - set(_KEYS))
    if unknown:
        raise UsageError(f"--model-loader-extra-config has no {unknown[0]!r} with hoist: it has {', '.join(_KEYS)}")
    files = given.get("files") or ()
    if isinstance(files, str):
        files = (files,)
    if not all(isinstance(name, str) for name in files):
        raise UsageError("files of --model-loader-extra-config is the name of a weight file, or a list of them")
    parse_location(given["location"])
    batch = parse_size(given.get("batch", LoaderOptions.batch_bytes))
    if batch < 1:
        raise UsageError("batch of --model-loader-extra-config is a size such as 256MiB")
    return LoaderOptions(given["location"], tuple(files), str(given.get("device", "cpu")), batch)


def register() -> None:
    """What vLLM calls in each of its processes (entry point `vllm.general_plugins`); a second time does nothing."""
    import_module("hoist.integrations.vllm_loader")


def missing_weights(wanted: set[str], loaded: Any, location: str) -> str:
    """Why a model is not whole after its `load_weights`, which may say what it has loaded; "" if it is."""
    missing = sorted(wanted - set(loaded)) if loaded is not None else []
    if not missing:
        return ""
    return (
        f"{location} lacks {len(missing)} weights that the model has, such as {missing[0]}: is it that model's version?"
    )
