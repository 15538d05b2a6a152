"""Trying again what a storage calls passing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from hoist.errors import StorageUnavailable

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
Result = TypeVar("Result")


def retrying(action: Callable[[], Result], seconds: float, stop: Event) -> Result:
    """`action`, again and again while it raises StorageUnavailable and the first time is not `seconds` ago.

    A storage that says when to come again is not asked before.
    """
    until = None
    wait = _FIRST_WAIT
    while True:
        try:
            return action()
        except StorageUnavailable as error:
            now = time.monotonic()
            until = until if until is not None else now + seconds
            asked = error.retry_after or 0.0
            if now + max(wait, asked) > until or stop.is_set():
                raise StorageUnavailable(f"{error} (tried for {seconds:g} s)") from None
        stop.wait(max(asked, wait * random.uniform(0.5, 1.0)))  # noqa: S311 spreads retries, keeps no secret
        wait = min(2 * wait, _LONGEST_WAIT)
