"""Hoist stores, delivers and loads model weights for GPU functions.

    import hoist

    hoist.publish("anything-v5.safetensors", "nas//sd15/anything:v5")
    tensors = hoist.load_file("nas//sd15/anything:v5", device="cuda")

Names are imported at their first use, so that `import hoist` stays quick.
"""

from __future__ import annotations

import sys
from importlib import import_module

# typing's own constant costs more to import than all the rest of this module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from hoist.advise.verb import advice
    from hoist.audit.run import audit
    from hoist.checkup.run import doctor
    from hoist.errors import HoistError
    from hoist.tensors.checkpoint import load_checkpoint
    from hoist.tensors.gguf import open_gguf
    from hoist.tensors.safetensors import load_file, safe_open
    from hoist.tensors.several import load_files
    from hoist.verbs import (
        cache_drop,
        cache_limit,
        cache_pin,
        cache_unpin,
        cache_verify,
        collect,
        copy,
        history,
        host_cache,
        inspect,
        list,
        open,
        publish,
        pull,
        remove,
        rollback,
        rollout,
        sign,
        signature,
        start_fleet,
        status,
        sync,
        tag,
        verify,
        warm,
    )

__version__ = "0.1.0"

__all__ = [
    "HoistError",
    "advice",
    "audit",
    "cache_drop",
    "cache_limit",
    "cache_pin",
    "cache_unpin",
    "cache_verify",
    "collect",
    "copy",
    "doctor",
    "history",
    "host_cache",
    "inspect",
    "list",
    "load_checkpoint",
    "load_file",
    "load_files",
    "open",
    "open_gguf",
    "publish",
    "pull",
    "remove",
    "rollback",
    "rollout",
    "safe_open",
    "sign",
    "signature",
    "start_fleet",
    "status",
    "sync",
    "tag",
    "verify",
    "warm",
]

_HOMES = dict.fromkeys(__all__, "hoist.verbs") | {
    "HoistError": "hoist.errors",
    "advice": "hoist.advise.verb",
    "audit": "hoist.audit.run",
    "doctor": "hoist.checkup.run",
    "load_checkpoint": "hoist.tensors.checkpoint",
    "load_file": "hoist.tensors.safetensors",
    "load_files": "hoist.tensors.several",
    "open_gguf": "hoist.tensors.gguf",
    "safe_open": "hoist.tensors.safetensors",
}


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


class _House(type(sys)):  # type: ignore[misc]
    """A verb's name stays the verb's, also where a package has the same one: `hoist.sync` is what to call, and
    `from hoist.sync.plan import SyncPlan` works all the same."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HOMES and isinstance(value, type(sys)):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _House


def __dir__() -> list[str]:  # type: ignore[valid-type]
    return sorted(__all__)
