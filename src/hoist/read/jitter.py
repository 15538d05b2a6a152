"""A short wait of a random length before a process first asks a remote storage for weights.

Of many instances that start at one moment, all would ask for the same first blocks at one moment too.
"""

from __future__ import annotations

import random
import time
from threading import Lock

_LOCK = Lock()
_WAITED = False


def wait_once(most_seconds: float) -> None:
    """Wait up to so long, in the first call of this process; never again."""
    global _WAITED
    with _LOCK:
        waited, _WAITED = _WAITED, True
    if not waited and most_seconds > 0:
        time.sleep(random.uniform(0, most_seconds))  # noqa: S311 spreads requests, keeps no secret
