"""A user's own code by its name, `MODULE:ATTR`."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def find_named(name: str, *, what: str = "function") -> Any:
    """What `MODULE:ATTR` names (`ATTR` may have dots); `what` it is wanted for, in messages. Raises UsageError.

    What the module itself raises while it is imported is let through.
    """
    from hoist.errors import UsageError

    module, _, path = name.partition(":")
    if not module or not path:
        raise UsageError(f"{name!r} is not MODULE:NAME: write for example app:{what}")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise UsageError(f"there is no module {error.name!r} for the {what} {name}: is it on PYTHONPATH?") from None
        raise
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise UsageError(f"the module {module!r} has no {what} {path!r}")
    return found
