"""The node `Load Checkpoint (Hoist)`: what ComfyUI's own checkpoint loader does, from a storage instead of a folder."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from hoist.errors import InvalidFile
from hoist.integrations.checkpoints import Catalog

CATALOG = Catalog()


class HoistCheckpointLoader:
    """A checkpoint of the storages in hoist.toml (or of those in HOIST_CHECKPOINTS), as MODEL, CLIP and VAE.

    The names in capitals are ComfyUI's interface of a node.
    """

    CATEGORY = "loaders"
    DESCRIPTION = "Loads a checkpoint from a storage of Hoist: each byte is verified and read once."
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load_checkpoint"
    SEARCH_ALIASES: ClassVar[list[str]] = ["hoist", "load checkpoint"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 ComfyUI's name
        """The list to choose from; asked for whenever the page is loaded and for each prompt."""
        titles = [each.title for each in CATALOG.all()]
        return {"required": {"checkpoint": (titles, {"tooltip": "STORAGE//NAME:VERSION"})}}

    @classmethod
    def IS_CHANGED(cls, checkpoint: str) -> str:  # noqa: N802 ComfyUI's name
        """What changes when another run would load something else: the version's digest."""
        return CATALOG.find(checkpoint).version_digest

    def load_checkpoint(self, checkpoint: str) -> tuple[Any, ...]:
        """MODEL, CLIP and VAE. Raises InvalidFile where ComfyUI knows no such model, and what `hoist.load_file` does."""
        sd, folder_paths = import_module("comfy.sd"), import_module("folder_paths")
        chosen = CATALOG.find(checkpoint)
        found = sd.load_state_dict_guess_config(
            chosen.load(),
            output_vae=True,
            output_clip=True,
            embedding_directory=folder_paths.get_folder_paths("embeddings"),
            metadata=chosen.metadata(),
        )
        if found is None:
            raise InvalidFile(
                f"{checkpoint} is no checkpoint that this ComfyUI knows: it holds no such model's tensors"
            )
        return tuple(found[:3])


NODE_CLASS_MAPPINGS = {"HoistCheckpointLoader": HoistCheckpointLoader}
NODE_DISPLAY_NAME_MAPPINGS = {"HoistCheckpointLoader": "Load Checkpoint (Hoist)"}
