"""What a simulation is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from hoist.advise.performance import Performance
from hoist.advise.simulate.arrivals import Arrivals, ScaleOut
from hoist.advise.simulate.outcome import Usage
from hoist.errors import UsageError


@dataclass(frozen=True, slots=True)
class Model:
    """One that instances ask for: bytes, and how often it is asked for beside the others."""

    size: float
    weight: float = 1.0
    name: str = "model"

    def __post_init__(self) -> None:
        if not (0 <= self.size < inf and 0 <= self.weight < inf):
            raise UsageError(f"model {self.name}: its size is 0 bytes or more, and its weight 0 or more")


@dataclass(frozen=True, slots=True)
class SimulationInput:
    """A fleet that reads its models from one storage. Sizes are bytes, rates bytes a second, times seconds.

    `links` are pairs (rate of an instance's link, weight): each instance gets one by chance. `host_link` is that of a
    host, for all its instances. Without `hosts` every `instances_per_host` starts get a new host; with it, starts go in
    turn to so many hosts, whose caches last. Instances of a host bring a model once between them where `host_cache` is
    on or the storage is one with a page cache; `host_cache_size` bounds what a host keeps, `accelerator_size` what a
    read cache does, and who waits there for what another one brings gets it by slices of `slice_size`, and sleeps
    `look_again` between looks (0: it streams along). What comes from a host's memory, second reads too, takes its time
    at `memory_rate`, where `rest_seconds` do not hold it already. `provision` goes by before an instance is there and
    paid for; it varies as its set-up does (the storage's `jitter`). With `start_jitter` each waits up to so long
    besides, at random. One that has not loaded `deadline` seconds after its start is ended, and started again at most
    `retries` times, the n-th time after `retry_wait * 2 ** (n - 1)` seconds, give or take half. `cost` prices what was
    used.
    """

    storage: Performance
    arrivals: Arrivals
    models: tuple[Model, ...]
    scale_out: ScaleOut = field(default_factory=ScaleOut)
    links: tuple[tuple[float, float], ...] = ((inf, 1.0),)
    host_link: float = inf
    instances_per_host: int = 1
    hosts: int | None = None
    host_cache: bool = False
    host_cache_size: float = inf
    accelerator_size: float = inf
    look_again: float = 0.0
    slice_size: float = 0.0
    memory_rate: float = inf
    provision: float = 0.0
    start_jitter: float = 0.0
    deadline: float = inf
    retries: int = 0
    retry_wait: float = 1.0
    cost: Callable[[Usage], float] | None = field(default=None, compare=False)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.models or not any(model.weight > 0 for model in self.models):
            raise UsageError("a simulation needs a model that is asked for")
        if not self.links or not all(rate > 0 and 0 <= weight < inf for rate, weight in self.links):
            raise UsageError("an instance's link has a bandwidth above 0")
        if not any(weight > 0 for _, weight in self.links):
            raise UsageError("one of the links has a weight above 0")
        rates = {"a host's link": self.host_link, "memory": self.memory_rate, "a deadline": self.deadline}
        rates |= {"a host's cache": self.host_cache_size, "an accelerator": self.accelerator_size}
        for name, value in rates.items():
            if not value > 0:
                raise UsageError(f"{name} is above 0, not {value:g}")
        if self.instances_per_host < 1 or (self.hosts is not None and self.hosts < 1):
            raise UsageError("there is one host at least, and one instance on it")
        if self.retries < 0 or not all(
            0 <= each < inf for each in (self.provision, self.start_jitter, self.retry_wait)
        ):
            raise UsageError("retries, waits and the time of provision are 0 or more")
        if min(self.storage.instance_rate, self.storage.total_rate, self.host_link, *(r for r, _ in self.links)) == inf:
            raise UsageError(
                "say the bandwidth of the storage, of an instance, or of its link: without one nothing takes time"
            )

    @property
    def shares_hosts(self) -> bool:
        """Whether instances of a host use what another one has brought, and a host can have several."""
        several = self.instances_per_host > 1 or self.hosts is not None
        return several and (self.host_cache or self.storage.page_cache)

    @property
    def medium_reads(self) -> float:
        """How often the bytes of a first load cross the medium."""
        return min(self.storage.reads, 1.0) if self.host_cache else self.storage.medium_reads
