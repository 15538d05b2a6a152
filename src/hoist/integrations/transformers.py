"""transformers on Hoist: a model and its tokenizer from a location or a function's Model, offline.

The model's parameters are Hoist's tensors, not copies of them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import torch

from hoist.errors import FileNotFound, InvalidFile, LocalError, UsageError
from hoist.integrations.assemble import BUILDING
from hoist.integrations.source import Place, open_source, read_weights
from hoist.tensors.index import CHECKPOINT_INDEX, CHECKPOINT_SUFFIXES, SAFETENSORS_INDEX

_SMALL = ("*.json", "*.txt", "*.model", "*.jinja")
_CONFIG, _GENERATION = "config.json", "generation_config.json"
# What other weight files of a version are for: training, or another library.
_OTHERS = ("optimizer", "scheduler", "training_args", "rng_state", "consolidated", "adapter_model")


def load_model(
    place: Place,
    file: str | None = None,
    *,
    cls: type | None = None,
    device: str | int | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    **config: Any,
) -> Any:
    """A transformers model, ready for inference, whose parameters are Hoist's tensors: no second copy, no second read.

    `place` is a location, a version opened with `hoist.open`, or a function's Model. `file` names the weights where there
    are several (an index stands for its shards). `cls` is the model's class (default: the architecture that `config.json`
    names). The device is the CPU, or the Model's. Weights keep their dtype; `dtype` casts on the way. Further arguments
    overwrite the configuration, such as `attn_implementation="eager"`. Code that a version carries is not run.

    Raises UsageError, NotFound, InvalidFile if the weights are not those of the configuration, LocalError without
    transformers, and what a storage may.
    """
    with open_source(place, device, dtype) as source:
        if _CONFIG not in source.files:
            raise FileNotFound(f"the version has no {_CONFIG}, so it is no transformers model")
        folder = source.folder(*_SMALL)
        library = import_transformers()
        found = library.AutoConfig.from_pretrained(str(folder), local_files_only=True, **config)
        kind = cls or _class_of(library, found)
        state = read_weights(source, file or find_weights(source.files), dtype)
        model = build_model(kind, found, state, torch.device(source.device))
        if model.can_generate() and _GENERATION in source.files:
            given = json.loads(source.read(_GENERATION))
            model.generation_config = library.GenerationConfig.from_dict(given)
        return model


def load_tokenizer(place: Place, **options: Any) -> Any:
    """The tokenizer that a version holds. Raises FileNotFound, and what a storage may."""
    with open_source(place) as source:
        names = [path for path in source.files if path.startswith(("tokenizer", "vocab", "spiece"))]
        if not names:
            raise FileNotFound("the version has no tokenizer: publish tokenizer.json beside the weights")
        library = import_transformers()
        return library.AutoTokenizer.from_pretrained(str(source.folder(*_SMALL)), local_files_only=True, **options)


def build_model(kind: Any, config: Any, state: Mapping[str, torch.Tensor], device: torch.device) -> Any:
    """A model of class `kind` around `state`'s tensors; tied weights are tied, and buffers computed.

    transformers' own conversions are done, so where a model joins or splits tensors (experts), those are copies.
    Raises InvalidFile if a weight is missing or has another shape.
    """
    with BUILDING:
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict={name: _Placed(tensor) for name, tensor in state.items()},
            dtype=_main_dtype(state),
            output_loading_info=True,
            # Told below, with what is missing.
            ignore_mismatched_sizes=True,
            local_files_only=True,
        )
    problems = [*report["missing_keys"], *(each[0] for each in report["mismatched_keys"]), *report["error_msgs"]]
    if problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        raise InvalidFile(
            f"the weights do not fit {kind.__name__}: {sorted(problems)[0]!r}{more} is missing or of another shape"
        )
    if device.type != "cpu":
        model.to(device)  # buffers: the parameters are there
    return model.eval().requires_grad_(False)


class _Placed:
    """A tensor as a lazy slice of a file, which is what transformers takes; it stays on the device where it is."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __getitem__(self, _: Any) -> _Placed:
        return self

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The tensor, cast only if the model wants another dtype."""
        return self._tensor if dtype is None else self._tensor.to(dtype=dtype)


def _main_dtype(state: Mapping[str, torch.Tensor]) -> torch.dtype:
    """The dtype of most weights: a model has one, and its exceptions are transformers' own."""
    counts: dict[torch.dtype, int] = {}
    for tensor in state.values():
        if tensor.is_floating_point():
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.numel()
    return max(counts, key=lambda dtype: counts[dtype], default=torch.float32)


def _class_of(library: Any, config: Any) -> Any:
    for name in config.architectures or []:
        found = getattr(library, name, None)
        if found is not None:
            return found
    named = ", ".join(config.architectures or []) or "no architecture"
    raise UsageError(f"config.json names {named}, which this transformers has not: pass its class as cls=")


def find_weights(files: Collection[str], folder: str = "", variant: str | None = None) -> str:
    """The weight file below a folder of a version: an index of shards, or the one file, safetensors before others.

    `variant` is what diffusers calls so (`fp16`). Raises FileNotFound, UsageError.
    """
    inside = {path.removeprefix(folder): path for path in files if path.startswith(folder)}
    plain = {name: path for name, path in inside.items() if "/" not in name and not name.startswith(_OTHERS)}
    for index, suffixes in ((SAFETENSORS_INDEX, (".safetensors",)), (CHECKPOINT_INDEX, CHECKPOINT_SUFFIXES)):
        indices = [path for name, path in plain.items() if name.endswith(index)]
        if indices and not variant:
            return min(indices, key=len)
        whole = [path for name, path in plain.items() if name.endswith(suffixes)]
        if variant:
            whole = [path for path in whole if path.rpartition(".")[0].endswith(f".{variant}")]
        elif len(whole) > 1:
            # Beside variants lies what they are variants of.
            whole = [path for path in whole if "." not in path.rpartition("/")[2].rpartition(".")[0]]
        if len(whole) == 1:
            return whole[0]
        if whole:
            raise UsageError(f"there are {len(whole)} weight files: name one of {', '.join(sorted(whole)[:8])}")
    raise FileNotFound(f"there are no weights{f' ({variant})' if variant else ''} in {folder or 'the version'}")


def import_transformers() -> Any:
    """The library. Raises LocalError with the mend if it is not installed."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise LocalError(f"this needs transformers: pip install transformers ({error.name} is missing)") from None
    return transformers
