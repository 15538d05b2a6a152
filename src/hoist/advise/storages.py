"""The storages that a scenario may choose among, as facts describe them: what each gives, and of what size. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, isfinite

from hoist.advise import words
from hoist.advise.facts import Fact, Facts
from hoist.advise.performance import Performance
from hoist.advise.scenario import Scenario
from hoist.advise.units import to_base

_STEP = re.compile(r"(\d+)([gt]ib)")
KINDS = ("image", "nas", "oss", "accl")
# Storages that the platform itself keeps in step over regions and zones, and which need no hand at an update.
REPLICATED = ("oss", "accl")
# What somebody has to set up in each region beside the function: a bucket; that and an accelerator; file system and VPC.
PARTS = {"image": 0, "oss": 1, "accl": 2, "nas": 2}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One storage for one scenario. Sizes are bytes, times seconds, rates bytes a second.

    `held` is what is paid for in each region: the models, or more of it for the sake of its bandwidth (`nas`); `cache` is
    an accelerator's provisioned size. `setup` is by phase, in order. `used` are the facts by their part in this.
    """

    kind: str
    performance: Performance
    setup: Mapping[str, float]
    rest: Mapping[str, float]
    held: int
    cache: int
    used: Mapping[str, Fact]
    problem: str = ""

    @property
    def shares_hosts(self) -> bool:
        """Whether instances on one host read one copy: through the page cache, or Hoist's host cache."""
        return self.performance.page_cache or self.performance.reads == 1


def performances(facts: Facts, scenario: Scenario) -> tuple[Performance, ...]:
    """What each storage does to a start of this scenario, none larger than its models need."""
    return tuple(candidate.performance for candidate in candidates(facts, scenario))


def candidates(facts: Facts, scenario: Scenario) -> tuple[Candidate, ...]:
    """All storages, none larger than its models need. Raises NotFound for a fact that is missing."""
    return tuple(candidate(kind, facts, scenario) for kind in KINDS)


def candidate(kind: str, facts: Facts, scenario: Scenario, amount: int | None = None) -> Candidate:
    """One storage; `amount` is how large a file system or accelerator is made, if that is more than is needed."""
    return _Maker(facts, scenario).make(kind, amount)


def least_amount(kind: str, facts: Facts, scenario: Scenario) -> int:
    """How large a file system or accelerator has to be for the models alone."""
    least = facts.find(f"{scenario.platform}.{_sized(kind, scenario)}.size-least")
    return max(scenario.stored, int(least.base) if least else 0)


def most_amount(kind: str, facts: Facts, scenario: Scenario) -> int:
    """How large it can be made; what is needed, if no larger one is faster."""
    name = f"{scenario.platform}.{_sized(kind, scenario)}"
    most = facts.find(f"{name}.size-most")
    grows = facts.find(f"{name}.growth") or _steps(facts, name)
    return int(most.base) if most and grows else least_amount(kind, facts, scenario)


def _sized(kind: str, scenario: Scenario) -> str:
    return f"nas.{scenario.nas}" if kind == "nas" else kind


def _steps(facts: Facts, name: str) -> list[tuple[int, Fact]]:
    """Bandwidths by capacity, where they grow in steps (`rate-from-500gib`), the smallest first."""
    prefix = f"{name}.rate-from-"
    return sorted(
        (int(to_base(float(found[1]), found[2][0].upper() + "iB")), fact)
        for fact in facts
        if fact.id.startswith(prefix) and (found := _STEP.fullmatch(fact.id.removeprefix(prefix)))
    )


class _Maker:
    """Reads the facts that one storage needs, and remembers which."""

    def __init__(self, facts: Facts, scenario: Scenario) -> None:
        self._facts, self._scenario = facts, scenario
        self._used: dict[str, Fact] = {}

    def make(self, kind: str, amount: int | None) -> Candidate:
        scenario = self._scenario
        instance = self._instance_rate(kind)
        total, origin, cache, held = inf, None, 0, scenario.stored
        if kind == "nas":
            held = max(least_amount("nas", self._facts, scenario), amount or 0)
            total = self._grown(f"nas.{scenario.nas}", held)
        elif kind == "image":
            total = self._platform("image.rate", "start rate") or inf
        else:
            total = origin = self._bucket_rate()
        if kind == "accl":
            cache = max(least_amount("accl", self._facts, scenario), amount or 0)
            # Of some accelerators the bucket's own bandwidth is there too; through others all reads go.
            total *= self._platform("accl.beside-bucket", "beside bucket") or 0.0
            total += self._grown("accl", cache)
        reads = self._value(f"loader.{scenario.loader}.reads", "reads") or 1.0
        page_cache = kind in ("image", "nas")
        setup = self._setup(kind)
        rest = self._rest(reads, page_cache)
        jitter = self._platform("jitter", "jitter") or 0.0
        return Candidate(
            kind,
            Performance(
                kind,
                sum(setup.values()),
                instance,
                total,
                origin if kind == "accl" else None,
                reads,
                page_cache,
                sum(rest.values()),
                jitter,
            ),
            setup,
            rest,
            held if kind != "image" else scenario.stored,
            cache,
            self._used,
            self._problem(kind, cache),
        )

    def _value(self, id: str, role: str) -> float | None:
        fact = self._facts.find(id)
        if fact is None:
            return None
        self._used[role] = fact
        return fact.base

    def _platform(self, name: str, role: str) -> float | None:
        return self._value(f"{self._scenario.platform}.{name}", role)

    def _instance_rate(self, kind: str) -> float:
        """What one instance's loader draws: what was measured of this storage, else what the loader was measured with."""
        own = self._platform(f"{kind}.client-rate", "client rate")
        if own is not None:
            return own
        what = "bucket" if kind in REPLICATED else "file"
        return self._value(f"loader.{self._scenario.loader}.{what}-rate", "loader rate") or inf

    def _grown(self, name: str, size: int) -> float:
        """A bandwidth that grows with size, from a start (a file system's) or a floor (an accelerator's)."""
        growth = self._platform(f"{name}.growth", "growth") or 0.0
        most = self._platform(f"{name}.rate-most", "most rate") or inf
        if name == "accl":
            return min(most, max(self._platform("accl.rate-least", "least rate") or 0.0, growth * size))
        steps = [
            fact for size_from, fact in _steps(self._facts, f"{self._scenario.platform}.{name}") if size_from <= size
        ]
        start = steps[-1] if steps else self._facts.fact(f"{self._scenario.platform}.{name}.rate")
        self._used["start rate"] = start
        return min(most, start.base + growth * size)

    def _bucket_rate(self) -> float:
        """The bucket's bandwidth in the slowest region; less where requests for small files are what is limited."""
        slowest = min((self._region_fact(region) for region in self._scenario.regions), key=lambda fact: fact.base)
        self._used["bucket rate"] = slowest
        rate, requests = slowest.base, self._platform("oss.requests", "requests")
        if requests:
            rate = min(rate, requests * self._scenario.size / self.request_count())
        return rate

    def request_count(self) -> int:
        """Requests that one start makes: one a file, and one for each block of a large one."""
        block = self._value("loader.request-size", "request size") or 8 << 20
        return max(self._scenario.files, ceil(self._scenario.size / block))

    def _region_fact(self, region: str) -> Fact:
        place = "mainland" if region.startswith("cn-") and region != "cn-hongkong" else "abroad"
        id = f"{self._scenario.platform}.oss.rate."
        found = [fact for name in (region, place, "any") if (fact := self._facts.find(id + name))]
        if not found:
            return self._facts.fact(id + region)
        # What somebody measured or said counts before what was published.
        return next((fact for fact in found if fact.certainty in ("measured", "given")), found[0])

    def _setup(self, kind: str) -> dict[str, float]:
        """Phases before the first byte: the platform's own, and network access where the storage needs it."""
        return {
            "provision": self._platform("provision", "provision") or 0.0,
            "network": self._platform(f"{kind}.setup", "network") or 0.0,
        }

    def _rest(self, reads: float, page_cache: bool) -> dict[str, float]:
        """Phases after the bytes. Hoist's tensors are views of what was fetched, and copies to a GPU go along with it."""
        scenario = self._scenario
        deserialize = transfer = 0.0
        if scenario.loader == "plain":
            again = (reads - 1 if page_cache else 0.0) + 1
            deserialize = again * scenario.size / (self._value("loader.plain.memory-rate", "memory rate") or inf)
            transfer = scenario.size / (self._value(f"gpu.{scenario.gpu}.transfer-rate", "transfer rate") or inf)
        return {"deserialize": deserialize, "transfer": transfer, "warmup": scenario.warmup}

    def _problem(self, kind: str, cache: int) -> str:
        """Why this storage cannot hold the models at all."""
        scenario = self._scenario
        name = {"image": "image.most", "accl": "accl.size-most"}.get(kind, f"nas.{scenario.nas}.size-most")
        most = self._platform(name, "most size") if kind != "oss" else None
        need = scenario.stored + scenario.base_image if kind == "image" else max(cache, scenario.stored)
        if most is None or need <= most or not isfinite(most):
            return ""
        fact = self._used["most size"]
        return f"{words.decimal_size(need)} is more than the {fact.shown} that {_WHAT[kind]} may have"


_WHAT = {"image": "an image", "nas": "a file system", "accl": "an accelerator"}


def request_count(facts: Facts, scenario: Scenario) -> int:
    """Requests that one start makes of an object store, by a loader that reads each byte once."""
    return _Maker(facts, scenario).request_count()
