"""The verbs: what the command line calls and what `import hoist` gives, in the same words.

Each takes addresses and locations as texts, finds the storage by hoist.toml and the environment, does one thing, and
closes what it opened.
"""

from __future__ import annotations

from hoist.verbs.caching import cache_drop, cache_limit, cache_pin, cache_unpin, cache_verify, host_cache
from hoist.verbs.fleets import start_fleet, warm
from hoist.verbs.regions import history, rollback, rollout, status, sync
from hoist.verbs.versions import collect, copy, inspect, list, open, publish, pull, remove, sign, signature, tag, verify

__all__ = [
    "cache_drop",
    "cache_limit",
    "cache_pin",
    "cache_unpin",
    "cache_verify",
    "collect",
    "copy",
    "history",
    "host_cache",
    "inspect",
    "list",
    "open",
    "publish",
    "pull",
    "remove",
    "rollback",
    "rollout",
    "sign",
    "signature",
    "start_fleet",
    "status",
    "sync",
    "tag",
    "verify",
    "warm",
]
