"""What `hoist advise` prints for people: the recommendation first, then what it rests on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hoist.cli.advise_sentences import crossovers, notes, sizings
from hoist.cli.facts import print_facts
from hoist.cli.text import print_table, printable

if TYPE_CHECKING:
    from hoist.advise.advice import Advice
    from hoist.advise.scenario import Scenario
    from hoist.advise.sizing import Judged

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
    _section("Where one passes another", crossovers(found))
    _section(f"What it takes to meet {found.scenario.deadline:g} s", sizings(found))
    _section("Worth knowing", notes(found))
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
    yield each("regions", "any region" if case.regions == ("any",) else ", ".join(case.regions))
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


def _print_explanations(found: Advice) -> None:
    from hoist.advise.explain import explain

    for each in found.ranked:
        print(f"\n{each.kind}")
        for line in explain(found, each.kind):
            _wrapped(line.lstrip(), "      ", "    " if line.startswith(" ") else "  ")
    print()
    print_facts(found.used)
    print("\nhoist facts show ID has the source of each.")
