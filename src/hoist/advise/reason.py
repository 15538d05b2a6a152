"""Why a storage is in its place, in one sentence with the numbers that decide. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hoist.advise import words
from hoist.advise.rank import Ranked
from hoist.advise.scenario import Scenario
from hoist.advise.sizing import Judged
from hoist.advise.storages import PARTS

_PARTS = {
    "image": "nothing beside the function",
    "oss": "a bucket",
    "accl": "a bucket and an accelerator",
    "nas": "a file system and a VPC",
}


def reason(ranked: Sequence[Ranked], place: int, scenario: Scenario) -> str:
    """One sentence for the storage in this place."""
    here = ranked[place]
    if here.problem:
        return here.problem + "."
    rivals = [each for each in ranked if not each.problem and each is not here]
    if not rivals:
        return f"the only one that can be taken{_grown(here.judged)}."
    if place == 0:
        return _wins(here, ranked[1], scenario) + "."
    return _loses(here, ranked[0].judged, scenario) + "."


def _wins(here: Ranked, next_one: Ranked, scenario: Scenario) -> str:
    one, other = here.judged, next_one.judged
    name = here.decided_by.name if here.decided_by else ""
    if name == "start":
        return f"starts fastest: {_starts(one)} at p95{_grown(one)}; {other.kind} {_starts(other)}"
    if name == "cost":
        fast = "as fast as any, and cheaper" if scenario.mode == "on-demand" else "in time, and cheapest"
        return f"{fast}: {_price(one)}; {other.kind} {_money(other)}"
    if name == "upkeep":
        actions = words.count(other.cost.upkeep, "action")
        return f"an update is done when published{_grown(one)}; {other.kind} takes {actions} a month ({_upkeep(other)})"
    if name == "parts":
        return f"as fast and as cheap as {other.kind}, with less to operate: {_PARTS[one.kind]}{_grown(one)}"
    return f"no worse than {other.kind} in anything that counts here{_grown(one)}"


def _loses(place: Ranked, rival: Judged, scenario: Scenario) -> str:
    name = place.decided_by.name if place.decided_by else ""
    here = place.judged
    if name == "start":
        return (
            f"starts in {_starts(here)} at p95{_grown(here)}, {rival.kind} in {_starts(rival)}: {cause(here, scenario)}"
        )
    if name == "cost":
        what = max(here.cost.parts, key=lambda part: here.cost.parts[part] - rival.cost.parts[part])
        more = words.money(here.cost.parts[what] - rival.cost.parts[what], scenario.currency)
        return f"{_price(here)}; {rival.kind} {_money(rival)}: {more} more for {_WHAT[what]}"
    if name == "upkeep":
        return (
            f"{words.count(here.cost.upkeep, 'action')} a month to keep it up to date ({_upkeep(here)}){_grown(here)}"
        )
    if name == "parts":
        more = "more" if PARTS[here.kind] > PARTS[rival.kind] else "no less"
        return f"as fast and as cheap as {rival.kind}, with {more} to operate: {_PARTS[here.kind]}{_grown(here)}"
    return f"close to {rival.kind}: {_starts(here)} at p95 for {_price(here)}"


_WHAT = {
    "storage": "storage",
    "accelerator": "the accelerator",
    "requests": "requests",
    "gpu": "GPU seconds of loading",
}


def cause(each: Judged, scenario: Scenario) -> str:
    """What makes this storage's start as long as it is: what bounds the bytes, and what they are."""
    performance, prediction = each.candidate.performance, each.prediction
    reads = performance.medium_reads
    twice = "reads each byte twice, as no page cache has it, and " if reads > 1 else ""
    fetch, network = prediction.phases["fetch"], prediction.phases["network"]
    if network > fetch:
        return f"{words.seconds(network)} of it are network access"
    also = f", after {words.seconds(network)} of network access" if network >= 0.5 else ""
    if prediction.bound == "the storage's bandwidth" and scenario.instances > 1:
        return f"{twice}{scenario.instances:,} instances share {words.rate(performance.total_rate)}{also}"
    if prediction.bound == "the storage's bandwidth":
        return f"{twice}the storage gives {words.rate(performance.total_rate)}{also}"
    if prediction.bound == "the loader":
        return f"{twice}an instance draws {words.rate(performance.instance_rate)} from it{also}"
    if prediction.bound == "the origin":
        return f"{twice}a cold cache fills at {words.rate(performance.origin_rate or 0.0)}{also}"
    return f"{twice}the instance's link gives {words.rate(scenario.link)}{also}"


def _starts(each: Judged) -> str:
    return words.seconds(each.prediction.p95)


def _money(each: Judged) -> str:
    return words.money(each.cost.total, each.cost.currency)


def _upkeep(each: Judged) -> str:
    return "a copy to each region's file system" if each.kind == "nas" else "an image built and preprocessed"


def _price(each: Judged) -> str:
    return f"{_money(each)} a month{_grown(each)}"


def _grown(each: Judged) -> str:
    """What is said of a storage that is larger than its models, for the sake of its bandwidth."""
    if each.kind == "accl" and each.cost.resized:
        return f" with {words.decimal_size(each.candidate.cache)} of accelerator for the hour of each start"
    return ""
