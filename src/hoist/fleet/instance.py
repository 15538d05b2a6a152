"""What is asked of the instances of a fleet, and what is known of each. Pure: events in, a new value out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

# How long an instance may take until it is loaded: what function platforms wait for its port.
DEADLINE_SECONDS = 120.0
STARTING, LOADING, LOADED, FAILED, OVERDUE = "starting", "loading", "loaded", "failed", "overdue"
PHASES = ("provision", "import", "network", "fetch+verify", "transfer", "deserialize", "warmup")
"""In their order. `provision` is from the wish to the first line of the instance, `import` torch and what loads,
`warmup` what else the function does; fetch and verify are streamed together."""


@dataclass(frozen=True, slots=True)
class Task:
    """What every instance does: `function` (`MODULE:FUNCTION`) is called with a Model; without one, it is only loaded.

    `files` are those of the version to load, where not all are meant; `device` is torch's word for the place.
    """

    location: str
    function: str | None = None
    files: tuple[str, ...] = ()
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one instance runs on its host: in a network namespace of that name (`ip netns`; needs root), with these
    variables besides its parent's."""

    namespace: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance, as far as it is known. `seconds` is the time from the wish to its function's return; `size` what was
    loaded, `fetched_bytes` what it read of the storage for that; `attempt` counts the nodes that it was started on."""

    number: int
    node: str
    state: str = STARTING
    pid: int | None = None
    attempt: int = 1
    moved_bytes: int = 0
    total_bytes: int = 0
    size: int = 0
    fetched_bytes: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    error: str | None = None

    @property
    def decided(self) -> bool:
        """Whether it is loaded, or never will be."""
        return self.state not in (STARTING, LOADING)

    @property
    def cached_bytes(self) -> int:
        """What of its weights it did not read of the storage itself: the host cache had it, or another instance's read."""
        return max(0, self.size - self.fetched_bytes) if self.state == LOADED else 0

    def told(self, event: Mapping[str, Any]) -> Instance:
        """After an event of the instance itself; what comes after the decision changes nothing."""
        if self.decided:
            return self
        kind = event.get("event")
        if kind == "loading":
            return replace(self, state=LOADING, moved_bytes=int(event["moved"]), total_bytes=int(event["total"]))
        if kind == "loaded":
            return replace(
                self,
                state=LOADED,
                size=int(event["size"]),
                fetched_bytes=int(event["fetched"]),
                phases=dict(event["phases"]),
                seconds=float(event["seconds"]),
            )
        return self.failed(str(event["error"])) if kind == "failed" else self

    def failed(self, error: str) -> Instance:
        """It ended, or was never there: `error` says how. One that was loaded is so no more."""
        return self if self.state in (FAILED, OVERDUE) else replace(self, state=FAILED, error=error)

    def overdue(self, deadline_seconds: float) -> Instance:
        """Its time is over."""
        if self.decided:
            return self
        how = f" ({self.moved_bytes} of {self.total_bytes} bytes)" if self.state == LOADING else " (not yet loading)"
        error = f"not loaded within {deadline_seconds:g} s{how}"
        return replace(self, state=OVERDUE, error=error)


@dataclass(frozen=True, slots=True)
class Spread:
    """How long the loaded instances took, in seconds; None where there is none."""

    p50: float | None
    p95: float | None
    most: float | None


def spread(instances: Sequence[Instance]) -> Spread:
    """The median, 95th percentile (nearest rank) and longest time of the loaded ones."""
    times = sorted(each.seconds for each in instances if each.state == LOADED and each.seconds is not None)
    if not times:
        return Spread(None, None, None)
    return Spread(*(times[math.ceil(share * len(times)) - 1] for share in (0.5, 0.95, 1.0)))
