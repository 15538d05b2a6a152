"""What `hoist advise` prints for people: the recommendation first, then what it rests on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hoist.cli.facts import print_facts
from hoist.cli.text import print_table, printable

if TYPE_CHECKING:
    from hoist.advise.advice import Advice
    from hoist.advise.crossover import Crossing
    from hoist.advise.scenario import Scenario
    from hoist.advise.sizing import Judged, Sizing

_WIDEST, _NARROWEST = 110, 80
_PHASES = ("provision", "network", "fetch", "deserialize", "transfer", "warmup")
_AFTER = ("deserialize", "transfer", "warmup")
_SHOWN = 0.05


def print_advice(found: Advice, *, explained: bool = False) -> None:
    """All of it; `explained` with the arithmetic and its sources."""
    _print_case(found)
    _print_ranking(found)
    _print_starts(found)
    _print_costs(found)
    _print_comparison(found)
    _section("Where one passes another", _crossovers(found))
    _section(f"What it takes to meet {found.scenario.deadline:g} s", _sizings(found))
    _section("Worth knowing", _notes(found))
    if explained:
        _print_explanations(found)
    else:
        print("\n--explain shows each formula with its inputs and their sources.")


def _width() -> int:
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((100, 24)).columns))


def _wrapped(text: str, indent: str, first: str | None = None) -> None:
    import textwrap

    begin = indent if first is None else first
    for line in textwrap.wrap(
        printable(text), _width(), initial_indent=begin, subsequent_indent=indent, break_on_hyphens=False
    ):
        print(line)


def _flow(items: Sequence[str], indent: str) -> None:
    """Items with semicolons between them, each on one line."""
    line = ""
    for item in (f"{each};" for each in items):
        if line and len(indent) + len(line) + 1 + len(item) > _width():
            print(indent + printable(line))
            line = ""
        line += f" {item}" if line else item
    print(indent + printable(line.removesuffix(";")))


def _section(title: str, lines: Iterator[str]) -> None:
    found = list(lines)
    if found:
        print(f"\n{title}")
    for line in found:
        _wrapped(line, "    ", "  - ")


def _print_case(found: Advice) -> None:
    """The model and the fleet; what nobody said is in parentheses."""
    from hoist.advise import words

    case = found.scenario
    files = words.count(case.files, "file")
    kept = f", {case.models} such models kept" if case.models > 1 else ""
    print(printable(f"{found.source + ': ' if found.source else ''}{words.size(case.size)} in {files}{kept}"))
    _flow([*_said(case), "in parentheses: assumed"], "  ")
    print()


def _said(case: Scenario) -> Iterator[str]:
    from hoist.advise import words

    def each(name: str, text: str) -> str:
        return f"({text})" if name in case.assumed else text

    many = len(case.regions) > 1
    yield each("mode", case.mode)
    yield each("instances", words.count(case.instances, "instance") + " at once" + (" a region" if many else ""))
    yield each("starts", words.count(case.starts * 86400, "start") + " a day")
    yield each("updates", words.count(case.updates * 604800, "update") + " a week")
    yield each("regions", ", ".join(case.regions))
    yield each("deadline", f"deadline {case.deadline:g} s")
    yield each("link", f"link {case.link * 8 / 1e9:g} Gbit/s")
    yield each("loader", "loaded by Hoist" if case.loader == "hoist" else "plain loader")
    yield each("gpu", f"{case.gpu}, {words.decimal_size(case.gpu_memory)}")
    if case.instances_per_host > 1:
        yield f"{case.instances_per_host} instances a host"
    if case.budget:
        yield f"budget {words.money(case.budget.amount, case.budget.currency)} a month"


def _print_ranking(found: Advice) -> None:
    if found.winner.problem:
        print("None of them does it as it is:")
    else:
        print(f"Recommended: {found.winner.kind}")
    for place, each in enumerate(found.ranked, 1):
        mark = f"{place}." if not each.problem else "-"
        _wrapped(found.reasons[each.kind], " " * 12, f"  {mark:<3}{each.kind:<7}")


def _print_starts(found: Advice) -> None:
    """Predicted starts with the phases of the median one; a phase that no storage has is left out."""
    able = [each.judged for each in found.ranked if not each.judged.candidate.problem]
    if not able:
        return
    shown = [phase for phase in _PHASES if any(each.prediction.phases[phase] >= _SHOWN for each in able)]
    heads, rows = _starts_table(found, able, [(phase,) for phase in shown])
    if sum(max(map(len, column)) + 2 for column in zip(heads, *rows, strict=True)) - 2 > _width():
        # What comes after the bytes in one column, where the terminal is narrow.
        after = tuple(phase for phase in shown if phase in _AFTER)
        heads, rows = _starts_table(found, able, [*((phase,) for phase in shown if phase not in _AFTER), after])
    print()
    print_table(heads, rows)


def _starts_table(
    found: Advice, able: Sequence[Judged], columns: Sequence[tuple[str, ...]]
) -> tuple[list[str], list[list[str]]]:
    from hoist.advise import words

    many = found.scenario.instances > 1
    heads = ["STARTS", ">P50", ">P95", ">P99", *([">ALL"] if many else []), ">LATE"]
    heads += [f">{column[0].upper() if len(column) == 1 else 'AFTER'}" for column in columns]
    rows = []
    for each in able:
        start = each.prediction
        times = [start.p50, start.p95, start.p99, *([start.all_ready] if many else [])]
        phases = [_number(sum(start.phases[phase] for phase in column)) for column in columns]
        rows.append([each.kind, *map(words.seconds, times), words.share(start.late), *phases])
    return heads, rows


def _number(seconds: float) -> str:
    from hoist.advise import words

    return words.seconds(seconds) if seconds >= _SHOWN else "-"


def _print_costs(found: Advice) -> None:
    from hoist.advise import words

    able = [each for each in found.ranked if not each.judged.candidate.problem]
    if not able:
        return
    parts = [name for name in able[0].judged.cost.parts if any(each.judged.cost.parts[name] for each in able)]
    rows = []
    for each in able:
        cost = each.judged.cost
        split = [words.money(cost.parts[name], cost.currency) if cost.parts[name] else "-" for name in parts]
        rows.append(
            (each.kind, *split, words.money(cost.total, cost.currency), f"{cost.upkeep:.1f}".replace("0.0", "-"))
        )
    names = {"gpu": "GPU WHILE LOADING"}
    heads = (*(f">{names.get(name, name.upper())}" for name in parts), ">TOTAL", ">UPKEEP ACTIONS")
    print()
    print_table(("A MONTH", *heads), rows)


def _print_comparison(found: Advice) -> None:
    """The guide's table, as wide as the terminal: cells wrap."""
    import textwrap

    from hoist.advise.table import comparison

    table = comparison(found)
    kinds = list(found.judged)
    label = max(map(len, table)) + 2
    width = (_width() - label) // len(kinds) - 2
    print("\n" + "COMPARED".ljust(label) + "  ".join(kind.upper().ljust(width) for kind in kinds).rstrip())
    for name, cells in table.items():
        wrapped = [textwrap.wrap(printable(cells[kind]), width, break_on_hyphens=False) or [""] for kind in kinds]
        for line in range(max(map(len, wrapped))):
            row = "  ".join((cell[line] if line < len(cell) else "").ljust(width) for cell in wrapped)
            print(((name if line == 0 else "").ljust(label) + row).rstrip())


def _crossovers(found: Advice) -> Iterator[str]:
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


def _sizings(found: Advice) -> Iterator[str]:
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


def _notes(found: Advice) -> Iterator[str]:
    from hoist.advise import words
    from hoist.advise.advice import with_loader

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
    if not image.candidate.problem and case.instances > 1:
        yield "What images give all instances together is not published: no limit is taken."
    if case.shared:
        yield f"An update brings {words.size(case.update_bytes)}: {case.shared:.0%} is shared with a version that is there."
    doubtful = [fact.id for fact in found.used if fact.certainty == "unverified"]
    if doubtful:
        yield f"Rests on unverified facts: {', '.join(doubtful)}. Give your own in hoist.toml, or by --fact."


def _print_explanations(found: Advice) -> None:
    from hoist.advise.explain import explain

    for each in found.ranked:
        print(f"\n{each.kind}")
        for line in explain(found, each.kind):
            _wrapped(line.lstrip(), "      ", "    " if line.startswith(" ") else "  ")
    print()
    print_facts(found.used)
    print("\nhoist facts show ID has the source of each.")
