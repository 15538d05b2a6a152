"""Reading again what came wrong: past every cache on the way, to where the bytes are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TRY = ContextVar("hoist-afresh", default=0)


@contextmanager
def afresh(attempt: int) -> Iterator[None]:
    """What this thread reads in the body came wrong before; `attempt` says how often it has been read anew, from 1."""
    token = _TRY.set(attempt)
    try:
        yield
    finally:
        _TRY.reset(token)


def attempt_afresh() -> int:
    """How often it has been read anew; 0 for an ordinary read."""
    return _TRY.get()
