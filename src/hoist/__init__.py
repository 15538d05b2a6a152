"""Hoist stores, delivers and loads model weights for GPU functions.

    import hoist

    hoist.publish("anything-v5.safetensors", "nas//sd15/anything:v5")
    tensors = hoist.load_file("nas//sd15/anything:v5", device="cuda")

Names are imported at their first use, so that `import hoist` stays quick.
"""

from __future__ import annotations

from importlib import import_module

# typing's own constant costs more to import than all the rest of this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from hoist.errors import HoistError
    from hoist.tensors.checkpoint import load_checkpoint
    from hoist.tensors.safetensors import load_file, safe_open
    from hoist.verbs import inspect, list, open, publish, pull, remove, tag, verify

__version__ = "0.1.0"

_HOMES = {
    "HoistError": "hoist.errors",
    "load_checkpoint": "hoist.tensors.checkpoint",
    "load_file": "hoist.tensors.safetensors",
    "safe_open": "hoist.tensors.safetensors",
    **dict.fromkeys(("inspect", "list", "open", "publish", "pull", "remove", "tag", "verify"), "hoist.verbs"),
}

__all__ = [
    "HoistError",
    "inspect",
    "list",
    "load_checkpoint",
    "load_file",
    "open",
    "publish",
    "pull",
    "remove",
    "safe_open",
    "tag",
    "verify",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hoist' has no attribute {name!r}")
    try:
        return getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from hoist.errors import LocalError

        raise LocalError("loading tensors needs torch: pip install 'hoist[torch]'") from None


def __dir__() -> list[str]:  # type: ignore[valid-type]
    return sorted(__all__)
