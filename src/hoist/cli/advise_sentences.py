"""The sentences of `hoist advise` below its tables: crossovers, sizing, what is worth knowing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoist.advise.advice import Advice
    from hoist.advise.crossover import Crossing
    from hoist.advise.sizing import Judged, Sizing


def crossovers(found: Advice) -> Iterator[str]:
    """A line for each; those of storages that cross another at the same place stand together."""
    places: dict[tuple[str, float], list[Crossing]] = {}
    for each in found.crossings:
        places.setdefault((each.axis, round(each.at, 1)), []).append(each)
    order = list(found.judged)
    for group in places.values():
        left = group
        while left:
            # What passes the same one there, and what the same ones pass.
            above = {each.above for each in left if each.below == left[0].below}
            below = {each.below for each in left if {one.above for one in left if one.below == each.below} == above}
            yield _crossing(left[0], _named(below, order), _named(above, order))
            left = [each for each in left if each.below not in below]


def _named(kinds: set[str], order: Sequence[str]) -> str:
    return " and ".join(sorted(kinds, key=order.index))


def _crossing(one: Crossing, below: str, above: str) -> str:
    from hoist.advise import words

    verb = "start" if " and " in below else "starts"
    if one.axis == "instances":
        return f"below {one.at:,.0f} instances at once {below} {verb} faster; from there on {above}"
    if one.axis == "size":
        return f"below {words.size(one.at)} a model {below} {verb} faster; above {above}"
    cheaper = "are" if " and " in below else "is"
    starts = words.count(round(one.at, 1), "start")
    return f"below {starts} a day {below} {cheaper} cheaper; above {above}, which saves GPU seconds"


def sizings(found: Advice) -> Iterator[str]:
    """What each storage carries in time, and what size carries all."""
    for kind, sizing in found.sizings.items():
        if not sizing.least.candidate.problem:
            yield f"{kind}: {_sizing(found, kind, sizing)}"


def _sizing(found: Advice, kind: str, sizing: Sizing) -> str:
    from hoist.advise import words

    least, enough, cheapest = sizing.least, sizing.enough, sizing.cheapest
    most, wanted = found.most_in_time.get(kind, 0), found.scenario.instances
    carries = f"{most:,} at once" if 0 < most < 1 << 17 else "any number at once" if most else "not even one"
    now = f"{carries}, no larger than the models" if kind in ("nas", "accl") else carries
    if enough is None or cheapest is None:
        late = f"{now}; {words.share(least.prediction.late)} of {wanted:,} are late"
        return late + (f", and no size up to {words.decimal_size(sizing.most)} mends it" * (kind in ("nas", "accl")))
    parts = [f"{now}: enough" if enough is least else f"{now}; {wanted:,} take {_priced(enough)}"]
    if cheapest is not enough:
        parts.append(f"cheaper is {_priced(cheapest)}, as it saves GPU seconds")
    return "; ".join(parts)


def _priced(each: Judged) -> str:
    from hoist.advise import words

    what = "of accelerator" if each.kind == "accl" else "stored, most of it only for its bandwidth"
    hour = ", for the hour of each scheduled start" if each.cost.resized else ""
    price = words.money(each.cost.total, each.cost.currency)
    return f"{words.decimal_size(each.amount)} {what}{hour} ({price} a month in all)"


def notes(found: Advice) -> Iterator[str]:
    """What else somebody who follows the advice should know."""
    from hoist.advise import words
    from hoist.advise.advice import with_loader

    yield from (f"{note}." for note in found.notes)
    if found.bottleneck:
        yield found.bottleneck
    if found.folklore and not found.folklore.agrees:
        yield (
            f'The platform\'s guide says "{found.folklore.rule}" ({" or ".join(found.folklore.recommends)}), and the '
            f"computation does not: {found.folklore.why}."
        )
    elif found.folklore:
        yield f'So says the platform\'s guide: "{found.folklore.rule}".'
    case = found.scenario
    other = "plain" if case.loader == "hoist" else "hoist"
    times = ", ".join(
        f"{kind} {words.seconds(each.prediction.p95)}"
        for kind, each in with_loader(found, other).items()
        if not each.candidate.problem
    )
    if times:
        name = "a plain loader that hashes the file first" if other == "plain" else "Hoist, which reads once"
        yield f"By {name}, p95: {times}."
    image = found.judged["image"]
    unlimited = image.candidate.performance.total_rate == float("inf")
    if not image.candidate.problem and unlimited and case.instances > 1:
        yield "What images give all instances together is not published: no limit is taken."
    unpriced = [f"{each.cost.unpriced[0]} ({kind})" for kind, each in found.judged.items() if each.cost.unpriced]
    if unpriced:
        yield f"No price is known, and 0 is taken, of the {', '.join(unpriced)}: give yours by --fact."
    if case.shared:
        yield f"An update brings {words.size(case.update_bytes)}: {case.shared:.0%} is shared with a version that is there."
    doubtful = [fact.id for fact in found.used if fact.certainty == "unverified"]
    if doubtful:
        yield f"Rests on unverified facts: {', '.join(doubtful)}. Give your own in hoist.toml, or by --fact."
