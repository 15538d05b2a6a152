"""The model loader that vLLM knows as `hoist`: tensors stream from a location, verified, in the order of their bytes.

Imported by vLLM's processes only (`hoist.integrations.vllm.register`). Each worker of a tensor-parallel model streams the
whole model, as vLLM's own loaders do; with the host cache they share one copy, and the storage sends each block once.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader

from hoist.config import load_config
from hoist.errors import InvalidFile
from hoist.integrations.vllm import LOAD_FORMAT, missing_weights, parse_options
from hoist.tensors.stream import stream_tensors
from hoist.verbs import warm


@register_model_loader(LOAD_FORMAT)
class HoistModelLoader(BaseModelLoader):  # type: ignore[misc]
    """Loads a version's safetensors files into a model that vLLM has made. Raises HoistError with the mend."""

    def __init__(self, load_config: Any) -> None:
        super().__init__(load_config)
        self.options = parse_options(load_config.model_loader_extra_config)

    def download_model(self, model_config: Any) -> None:
        """Bring the version into the host cache, where there is one: loading it then reads this host's memory."""
        if load_config().cache.enabled:
            warm(self.options.location)

    def load_weights(self, model: Any, model_config: Any) -> None:
        """Fill the model's parameters. Raises InvalidFile if the version lacks some, and what `hoist.load_file` does."""
        options = self.options
        wanted = {name for name, _ in model.named_parameters()}
        tensors = stream_tensors(
            options.location, options.files or None, options.device, batch_bytes=options.batch_bytes
        )
        with closing(tensors):
            loaded = model.load_weights(tensors)
        # As in vLLM's own: quantised models name other parameters than their files do.
        problem = "" if model_config.quantization else missing_weights(wanted, loaded, options.location)
        if problem:
            raise InvalidFile(problem)
