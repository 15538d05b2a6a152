"""How long a read may take before it is given up, said by who has another place to read from.

    with within(Limits(silent_seconds=1.0, until=time.monotonic() + 4.0)):
        storage.read_into(file, 0, buffer)      # raises Late instead of waiting for longer

A storage whose `traits.gives_up` is true heeds it: when its `read_into` has raised, nothing writes to the buffer any more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from hoist.errors import StorageUnavailable


@dataclass(frozen=True, slots=True)
class Limits:
    """`silent_seconds`: how long no byte may come; `until`: when, on the monotonic clock, all must be there."""

    silent_seconds: float
    until: float = math.inf


class Late(StorageUnavailable):
    """Given up by its limits. `silent`: no byte came any more; else bytes came, and too few of them."""

    def __init__(self, message: str, *, silent: bool) -> None:
        super().__init__(message)
        self.silent = silent


_LIMITS: ContextVar[Limits | None] = ContextVar("hoist-limits", default=None)


@contextmanager
def within(limits: Limits) -> Iterator[None]:
    """What this thread reads in the body has these limits."""
    token = _LIMITS.set(limits)
    try:
        yield
    finally:
        _LIMITS.reset(token)


def limits_now() -> Limits | None:
    """The limits of what this thread reads; None: the storage's own."""
    return _LIMITS.get()
