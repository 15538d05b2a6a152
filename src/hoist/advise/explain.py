"""Each number with its formula, and the formula with its inputs: what `--explain` shows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf

from hoist.advise import words
from hoist.advise.advice import Advice
from hoist.advise.facts import Fact
from hoist.advise.predict import ideal_fetch, readers_of
from hoist.advise.scenario import Scenario
from hoist.advise.sizing import Judged
from hoist.advise.storages import REPLICATED


def explain(advice: Advice, kind: str) -> list[str]:
    """Lines for one storage: how its bandwidth, its start and its cost come about."""
    judged = advice.judged[kind]
    return [
        *_bandwidth(judged, advice.scenario),
        *_start(judged, advice.scenario),
        *_spread(judged, advice),
        *_cost(judged, advice),
    ]


def _bandwidth(judged: Judged, scenario: Scenario) -> Iterator[str]:
    found, performance = judged.candidate, judged.candidate.performance
    used = found.used
    total = words.rate(performance.total_rate)
    if judged.kind == "nas":
        growth = used.get("growth")
        grown = f" + {growth.shown} x {words.size(found.held)}" if growth else ""
        cap = f", at most {used['most rate'].shown}" if "most rate" in used else ""
        yield f"bandwidth = {used['start rate'].shown}{grown}{cap} = {total}"
    elif judged.kind == "accl":
        larger = f", {used['growth'].shown} x {words.decimal_size(found.cache)}" if "growth" in used else ""
        cap = f", at most {used['most rate'].shown}" if "most rate" in used else ""
        floor = used["least rate"].shown if "least rate" in used else "0"
        beside = f"{words.rate(performance.origin_rate or 0)} of the bucket + " if "beside bucket" in used else ""
        yield f"bandwidth = {beside}max({floor}{larger}){cap} = {total}"
    elif judged.kind == "oss":
        yield f"bandwidth = min({_bucket(found.used)}) = {total}"
    else:
        yield f"bandwidth = {total} for all instances together"


def _bucket(used: Mapping[str, Fact]) -> str:
    parts = [f"{used['bucket rate'].shown} of the account in its slowest region"]
    if "requests" in used:
        parts.append(f"{used['requests'].shown} requests x bytes of each")
    return ", ".join(parts)


def _start(judged: Judged, scenario: Scenario) -> Iterator[str]:
    candidate, performance = judged.candidate, judged.candidate.performance
    fetch, bound = ideal_fetch(candidate, scenario, scenario.instances)
    work = scenario.size * performance.medium_reads
    readers = readers_of(candidate, scenario, scenario.instances)
    moved = f"{performance.medium_reads:g} x {words.size(scenario.size)}"
    own = [f"{words.rate(scenario.link)} link"]
    if performance.instance_rate < inf:
        own.append(f"{words.rate(performance.instance_rate)} loader")
    parts = [f"{moved} / min({', '.join(own)})"]
    if performance.total_rate < inf:
        parts.append(f"{readers:,} x {moved} / {words.rate(performance.total_rate)}")
    if performance.origin_rate:
        parts.append(f"{moved} / {words.rate(performance.origin_rate)} origin")
    yield f"fetch = max({'; '.join(parts)}) = {words.seconds(fetch)}, by {bound}"
    if performance.reads > performance.medium_reads:
        cached = performance.reads - performance.medium_reads
        yield f"  {cached:g} of {performance.reads:g} reads is the page cache's"
    setup = " + ".join(f"{words.seconds(value)} {name}" for name, value in candidate.setup.items() if value)
    rest = " + ".join(f"{words.seconds(value)} {name}" for name, value in candidate.rest.items() if value >= 0.05)
    terms = " + ".join(filter(None, (setup, f"{words.seconds(work and fetch)} fetch", rest)))
    yield f"start = {terms} = {words.seconds(judged.prediction.ideal)}, if all begin to read at one moment"


def _spread(judged: Judged, advice: Advice) -> Iterator[str]:
    found, arrivals = judged.prediction, advice.arrivals
    spread = judged.candidate.performance.jitter
    begun = (
        f", {arrivals.burst:,.0f} at once and {arrivals.per_second:g} a second after" if arrivals.burst < inf else ""
    )
    yield (
        f"p50, p95, p99 = {words.seconds(found.p50)}, {words.seconds(found.p95)}, {words.seconds(found.p99)}: set-up times "
        f"log-normal, deviation {spread:.0%}{begun}, the bandwidth shared evenly"
    )


def _cost(judged: Judged, advice: Advice) -> Iterator[str]:
    found, scenario = judged.cost, advice.scenario
    money, facts = found.currency, advice.facts
    regions = f" x {len(scenario.regions)} regions" if len(scenario.regions) > 1 else ""
    name = f"nas.{scenario.nas}" if judged.kind == "nas" else "oss"
    price = facts.find(f"{scenario.platform}.{name}.price")
    if judged.kind != "image" and price:
        held = words.decimal_size(judged.candidate.held) if "/GB" in price.unit else words.size(judged.candidate.held)
        yield f"storage = {held} x {price.shown}{regions} = {words.money(found.storage, money)}"
    if judged.kind == "accl" and (price := facts.find(f"{scenario.platform}.accl.price")):
        part = ", full size only for the hour of each scheduled start" if found.resized else ""
        yield (
            f"accelerator = {words.decimal_size(judged.candidate.cache)} x {price.shown}{regions}{part} = "
            f"{words.money(found.accelerator, money)}"
        )
    if found.requests:
        yield f"requests = {words.money(found.requests, money)}"
    burst = scenario.burst_starts_a_month
    terms = [
        f"{words.count(round(starts, 1), 'start')} {how} x {words.seconds(seconds)}"
        for starts, how, seconds in (
            (burst, "at once", judged.prediction.billed),
            (scenario.starts_a_month - burst, "alone", found.alone_seconds),
        )
        if starts > 1e-6
    ]
    yield (
        f"GPU = ({' + '.join(terms)}, all but provision) x {found.gpu_second:.6f} {money} a second = "
        f"{words.money(found.gpu, money)}"
    )
    for what in found.unpriced:
        yield f"no price is known of the {what}: 0 is taken; give one (docs/facts.md)"
    if judged.kind not in REPLICATED:
        updates = words.count(scenario.updates_a_month, "update")
        yield f"upkeep = {updates} a month{regions} = {words.count(found.upkeep, 'action')}"
