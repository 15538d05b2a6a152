"""What a storage costs a month, split: storage, accelerator, requests, and GPU seconds spent loading. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hoist.advise.facts import Facts
from hoist.advise.predict import Prediction
from hoist.advise.scenario import DAY, Scenario
from hoist.advise.storages import REPLICATED, Candidate, least_amount, request_count
from hoist.advise.units import Price

# An accelerator that is made larger for a scheduled start is so for an hour: it is resized and paid for by the hour.
_RESIZED_HOURS = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one storage in all regions, in one currency. `unpriced` names what no fact has a price for.

    `upkeep` is how many actions a month somebody has to take beside publishing: copies to each region's file system, images
    rebuilt. `resized` is whether the accelerator is its full size only for scheduled starts.
    """

    currency: str
    storage: float
    accelerator: float
    requests: float
    gpu: float
    upkeep: float
    gpu_second: float
    resized: bool = False
    unpriced: tuple[str, ...] = ()

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


def cost(candidate: Candidate, prediction: Prediction, facts: Facts, scenario: Scenario) -> Cost:
    """A month of this storage, as predicted starts spend it. Raises NotFound for a fact that is missing."""
    regions = len(scenario.regions)
    unpriced: list[str] = []

    def priced(name: str, amount: float, what: str) -> float:
        id = f"{scenario.platform}.{name}"
        if facts.find(id) is None:
            unpriced.append(what)
            return 0.0
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
    return Cost(
        scenario.currency,
        storage,
        accelerator,
        requests,
        scenario.starts_a_month * prediction.billed * second,
        upkeep(candidate.kind, scenario),
        second,
        resized,
        tuple(unpriced),
    )


def upkeep(kind: str, scenario: Scenario) -> float:
    """Actions a month beside publishing once: each update is copied to each region's file system, or rebuilt as an image."""
    return 0.0 if kind in REPLICATED else scenario.updates_a_month * len(scenario.regions)


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
