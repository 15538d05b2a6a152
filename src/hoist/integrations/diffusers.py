"""diffusers on Hoist: a pipeline from a location or a function's Model, offline, in either layout.

A version may hold one checkpoint in the original layout (as WebUI has them) or a folder for each part (diffusers' own).
The modules' parameters are Hoist's tensors, not copies of them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from hoist.errors import FileNotFound, LocalError, UsageError
from hoist.integrations.assemble import assign, without_weights
from hoist.integrations.compute import choose_dtype, compute_in
from hoist.integrations.original import AVERAGED, CLIP, OPEN_CLIP, read_original
from hoist.integrations.source import FolderSource, ModelSource, Place, open_source, read_weights
from hoist.integrations.transformers import build_model, find_weights, import_transformers

_INDEX = "model_index.json"
_SMALL = ("*.json", "*.txt", "*.model", "*.jinja")
_WHOLE = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_POSITIONS = 77


def load_pipeline(
    place: Place,
    file: str | None = None,
    *,
    device: str | int | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    compute_dtype: torch.dtype | str | None = "auto",
    config: str | Path | None = None,
    variant: str | None = None,
    **components: Any,
) -> Any:
    """A diffusers pipeline, ready for inference, whose weights are Hoist's tensors: no second copy, no second read.

    `place` is a location, a version opened with `hoist.open`, or a function's Model. With a `model_index.json` it is in
    diffusers' layout; otherwise, or with `file`, one Stable Diffusion 1 or XL checkpoint in the original layout, whose
    averaged weights (EMA) are left out. What a checkpoint has not, its tokenizer above all, is taken from the version
    beside it or from `config`, a local folder or a location in diffusers' layout (`tokenizer/`, `scheduler/`,
    `unet/config.json`, ...); configurations that are nowhere are read off the tensors' shapes.

    The device is the CPU, or the Model's. Weights keep their dtype; `dtype` casts on the way. `compute_dtype` is that of
    the arithmetic, each weight being cast as it is used; `auto` computes half precision on a CPU, and weights of several
    dtypes, in the widest; None as the weights are. `variant` is diffusers' (`fp16`). Further arguments are parts of the
    pipeline, instead of the version's: `safety_checker=None`, `scheduler=...`.

    Raises UsageError, NotFound, InvalidFile if weights are missing or of another shape, LocalError without diffusers,
    and what a storage may.
    """
    library = _import_diffusers()
    with open_source(place, device, dtype) as source, _settings(source, config) as settings:
        parts: _Folders | _Single
        if file is None and _INDEX in source.files:
            parts = _Folders(library, source, dtype, variant)
        else:
            parts = _Single(library, source, settings, file or _only_checkpoint(source.files), dtype)
        pipeline = parts.pipeline(components)
    modules = [each for each in pipeline.components.values() if isinstance(each, torch.nn.Module)]
    chosen = choose_dtype(modules, compute_dtype)
    if chosen is not None:
        for module in modules:
            compute_in(module, chosen)
    return pipeline


class _Folders:
    """A version in diffusers' layout."""

    def __init__(self, library: Any, source: ModelSource, dtype: torch.dtype | str | None, variant: str | None) -> None:
        self._library, self._source, self._dtype, self._variant = library, source, dtype, variant

    def pipeline(self, components: Mapping[str, Any]) -> Any:
        """The pipeline, of the parts given and those that the version has."""
        index = json.loads(self._source.read(_INDEX))
        kind = getattr(self._library, str(index["_class_name"]), None)
        if kind is None:
            raise UsageError(f"{_INDEX} names {index['_class_name']}, which this diffusers has not")
        folder = self._source.folder(*_SMALL)
        parts: dict[str, Any] = dict(components)
        for name, spec in index.items():
            if name.startswith("_") or name in parts:
                continue
            parts[name] = self._part(name, spec, folder) if isinstance(spec, list) else spec
        return kind(**parts)

    def _part(self, name: str, spec: list[Any], folder: Path) -> Any:
        module, kind_name = spec
        if kind_name is None:
            return None
        kind = self._class(module, kind_name, name)
        if not issubclass(kind, torch.nn.Module):
            return kind.from_pretrained(str(folder / name), local_files_only=True)
        file = find_weights(self._source.files, f"{name}/", self._variant)
        state = read_weights(self._source, file, self._dtype)
        device = torch.device(self._source.device)
        if issubclass(kind, self._library.ModelMixin):
            return build_module(kind, kind.load_config(str(folder / name), local_files_only=True), state, device)
        config = kind.config_class.from_pretrained(str(folder / name), local_files_only=True)
        return build_model(kind, config, state, device)

    def _class(self, module: str, kind: str, name: str) -> Any:
        holder = getattr(self._library.pipelines, module, None)
        if holder is None and module in ("diffusers", "transformers"):
            holder = import_module(module)
        found = getattr(holder, kind, None)
        if found is None:
            raise UsageError(f"{_INDEX} has {module}.{kind} for {name}, which is not installed: give {name}= yourself")
        return found


class _Single:
    """One checkpoint in the original layout, and what lies beside it or in `settings`."""

    def __init__(
        self, library: Any, source: ModelSource, settings: list[Any], file: str, dtype: torch.dtype | str | None
    ) -> None:
        self._library, self._settings = library, settings
        self._state = read_weights(source, file, dtype, leave_out=AVERAGED)
        self._device = torch.device(source.device)
        self._original = read_original({name: tuple(tensor.shape) for name, tensor in self._state.items()})

    def pipeline(self, components: Mapping[str, Any]) -> Any:
        """The pipeline, of the parts given and those that the checkpoint has."""
        large = self._original.family == "sdxl"
        kind = self._library.StableDiffusionXLPipeline if large else self._library.StableDiffusionPipeline
        makers = {
            "tokenizer": lambda: self._tokenizer("tokenizer"),
            "scheduler": self._scheduler,
            "text_encoder": self._text_encoder,
            "unet": self._unet,
            "vae": self._vae,
        }
        if large:
            makers["tokenizer_2"] = lambda: self._tokenizer("tokenizer_2", "tokenizer")
            makers["text_encoder_2"] = self._text_encoder_2
            parts: dict[str, Any] = {}
        else:
            parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        parts |= components
        # The small parts first: what they lack is said before anything is built.
        return kind(**{name: make() for name, make in makers.items() if name not in parts}, **parts)

    def _unet(self) -> Any:
        config = self._config("unet/config.json", self._original.unet)
        state = _utilities().convert_ldm_unet_checkpoint(self._state, config)
        return build_module(self._library.UNet2DConditionModel, config, state, self._device)

    def _vae(self) -> Any:
        config = self._config("vae/config.json", self._original.vae)
        state = _utilities().convert_ldm_vae_checkpoint(self._state, config)
        return build_module(self._library.AutoencoderKL, config, state, self._device)

    def _text_encoder(self) -> Any:
        prefix = CLIP[self._original.family]
        config = self._config("text_encoder/config.json", self._original.text_encoder)
        names = (name for name in self._state if name.startswith(prefix))
        state = {name.removeprefix(prefix): self._state[name] for name in names}
        return self._text(import_transformers().CLIPTextModel, config, state)

    def _text_encoder_2(self) -> Any:
        assert self._original.text_encoder_2 is not None
        config = self._config("text_encoder_2/config.json", self._original.text_encoder_2)
        library = import_transformers()
        with without_weights():
            model = library.CLIPTextModelWithProjection(library.CLIPTextConfig(**config))
        # Its attention's joint matrix is split, and its projection transposed: these are copies, all else is not.
        state = _utilities().convert_open_clip_checkpoint(model, self._state, prefix=OPEN_CLIP)
        return assign(model, state, self._device)

    def _text(self, kind: Any, config: Mapping[str, Any], state: dict[str, torch.Tensor]) -> Any:
        with without_weights():
            model = kind(import_transformers().CLIPTextConfig(**config))
        if not hasattr(model, "text_model"):
            # From transformers 5.6 the text model is no longer a part of its own.
            state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
        return assign(model, state, self._device)

    def _scheduler(self) -> Any:
        folder = self._folder("scheduler")
        kinds = {"sd1": "PNDMScheduler", "sdxl": "EulerDiscreteScheduler"}
        if folder is None:
            return getattr(self._library, kinds[self._original.family])(**self._original.scheduler)
        config = json.loads((folder / "scheduler_config.json").read_text())
        kind = getattr(self._library, config.get("_class_name", kinds[self._original.family]))
        return kind.from_config(config)

    def _tokenizer(self, *names: str) -> Any:
        for name in names:
            folder = self._folder(name)
            if folder is not None:
                found = import_transformers().CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
                # Without a configuration it would let prompts be of any length.
                found.model_max_length = min(found.model_max_length, _POSITIONS)
                return found
        raise UsageError(
            f"a checkpoint in the original layout has no tokenizer: publish {names[0]}/ beside it, or name a folder or "
            f"location that has one as config= (or give {names[0]}= yourself)"
        )

    def _config(self, path: str, read_off: Mapping[str, Any]) -> dict[str, Any]:
        for source in self._settings:
            if path in source.files:
                found: dict[str, Any] = json.loads(source.read(path))
                return found
        return dict(read_off)

    def _folder(self, name: str) -> Path | None:
        for source in self._settings:
            if any(fnmatch(path, f"{name}/*") for path in source.files):
                folder: Path = source.folder(f"{name}/*") / name
                return folder
        return None


def build_module(kind: Any, config: Mapping[str, Any], state: Mapping[str, torch.Tensor], device: torch.device) -> Any:
    """A diffusers module around `state`'s tensors, which has diffusers' names or older ones. Raises InvalidFile."""
    with without_weights():
        module = kind.from_config(dict(config))
    state = dict(state)
    rename = getattr(module, "_fix_state_dict_keys_on_load", None)
    if rename:
        rename(state)
    return assign(module, state, device)


@contextmanager
def _settings(source: ModelSource, config: str | Path | None) -> Iterator[list[Any]]:
    """Where small files are looked for, in this order: what the caller names, the version itself."""
    with ExitStack() as stack:
        found: list[Any] = [source]
        if config is not None and (isinstance(config, Path) or Path(config).is_dir()):
            if not Path(config).is_dir():
                raise FileNotFound(f"there is no folder {config}")
            found.insert(0, FolderSource(Path(config)))
        elif config is not None:
            found.insert(0, stack.enter_context(open_source(str(config))))
        yield found


def _only_checkpoint(files: Collection[str]) -> str:
    found = [path for path in files if path.endswith(_WHOLE)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise FileNotFound(f"the version has neither a {_INDEX} nor a checkpoint")
    raise UsageError(f"the version has {len(found)} weight files: name one of {', '.join(sorted(found)[:8])}")


def _utilities() -> Any:
    return import_module("diffusers.loaders.single_file_utils")


def _import_diffusers() -> Any:
    try:
        import diffusers
    except ModuleNotFoundError as error:
        raise LocalError(f"this needs diffusers: pip install diffusers ({error.name} is missing)") from None
    return diffusers
