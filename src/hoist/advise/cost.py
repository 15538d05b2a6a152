"""What a storage costs a month, split: storage, accelerator, requests, and GPU seconds spent loading. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hoist.advise.facts import Fact, Facts
from hoist.advise.predict import Prediction
from hoist.advise.scenario import DAY, Scenario
from hoist.advise.storages import REPLICATED, Candidate, least_amount, request_count
from hoist.advise.units import Price

# An accelerator that is made larger for a scheduled start is so for an hour: it is resized and paid for by the hour.
_RESIZED_HOURS = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one storage in all regions, in one currency. `unpriced` names what no fact has a price for, `used` are the facts
    that were.

    `upkeep` is how many actions a month somebody has to take beside publishing: copies to each region's file system, images
    rebuilt. `gpu_second` is the price of one, and `alone_seconds` are those of a start that comes alone. `resized` is
    whether the accelerator is its full size only for scheduled starts.
    """

    currency: str
    storage: float
    accelerator: float
    requests: float
    gpu: float
    upkeep: float
    gpu_second: float
    alone_seconds: float
    resized: bool = False
    unpriced: tuple[str, ...] = ()
    used: tuple[Fact, ...] = ()

    @property
    def total(self) -> float:
        """All of it, a month."""
        return self.storage + self.accelerator + self.requests + self.gpu

    @property
    def parts(self) -> Mapping[str, float]:
        """The split."""
        return {
            "storage": self.storage,
            "accelerator": self.accelerator,
            "requests": self.requests,
            "gpu": self.gpu,
        }

    @property
    def fixed(self) -> float:
        """What does not depend on how often instances start."""
        return self.storage + self.accelerator


def cost(candidate: Candidate, together: Prediction, alone: Prediction, facts: Facts, scenario: Scenario) -> Cost:
    """A month of this storage, as starts `together` and `alone` spend it. Raises NotFound for a fact that is missing."""
    regions = len(scenario.regions)
    unpriced: list[str] = []
    used = [facts.fact(id) for id in _gpu_ids(scenario)]

    def priced(name: str, amount: float, what: str) -> float:
        id = f"{scenario.platform}.{name}"
        if facts.find(id) is None:
            unpriced.append(what)
            return 0.0
        used.append(facts.fact(id))
        return _money(facts.price(id), amount, facts, scenario)

    storage = accelerator = requests = 0.0
    resized = False
    if candidate.kind == "nas":
        storage = regions * priced(f"nas.{scenario.nas}.price", candidate.held, "file system")
    elif candidate.kind in REPLICATED:
        storage = regions * priced("oss.price", candidate.held, "bucket")
        if facts.find(f"{scenario.platform}.oss.request-price"):
            asked = scenario.starts_a_month * request_count(facts, scenario) * candidate.performance.medium_reads
            requests = priced("oss.request-price", asked, "requests")
    if candidate.kind == "accl":
        least = least_amount("accl", facts, scenario)
        resized = scenario.mode == "provisioned" and candidate.cache > least
        share = min(1.0, scenario.bursts * DAY * _RESIZED_HOURS / 24) if resized else 1.0
        mean = share * candidate.cache + (1 - share) * least
        accelerator = regions * priced("accl.price", mean, "accelerator")
    second = gpu_second(facts, scenario)
    burst = scenario.burst_starts_a_month
    billed = burst * together.billed + (scenario.starts_a_month - burst) * alone.billed
    return Cost(
        scenario.currency,
        storage,
        accelerator,
        requests,
        billed * second,
        upkeep(candidate.kind, scenario),
        second,
        alone.billed,
        resized,
        tuple(unpriced),
        tuple(used),
    )


def upkeep(kind: str, scenario: Scenario) -> float:
    """Actions a month beside publishing once: each update is copied to each region's file system, or rebuilt as an image."""
    return 0.0 if kind in REPLICATED else scenario.updates_a_month * len(scenario.regions)


def _gpu_ids(scenario: Scenario) -> tuple[str, ...]:
    return ("gpu.cu-price", f"gpu.{scenario.gpu}.active", "gpu.vcpu.active", "gpu.memory.active", "money.cny-for-usd")


def gpu_second(facts: Facts, scenario: Scenario) -> float:
    """What a second of an active instance costs: GPU, vCPUs and memory."""
    units = (
        scenario.gpu_memory / 1e9 * facts.fact(f"gpu.{scenario.gpu}.active").value
        + scenario.vcpus * facts.fact("gpu.vcpu.active").value
        + scenario.memory / 1e9 * facts.fact("gpu.memory.active").value
    )
    return _money(facts.price("gpu.cu-price"), units, facts, scenario)


def _money(price: Price, amount: float, facts: Facts, scenario: Scenario) -> float:
    return facts.convert(price.amount * amount / price.per, price.currency, scenario.currency)
