"""How simulated fleets, and the simulator beside measured herds, are shown on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoist.cli.text import print_table, printable, show_count, show_seconds, show_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoist.advise.scenario import Scenario
    from hoist.advise.simulate import Outcome
    from hoist.advise.validate import Validation


def print_fleets(scenario: Scenario, outcomes: Sequence[Outcome]) -> None:
    """A row a storage, and the mean of each phase."""
    rows = []
    for each in outcomes:
        total, usage = each.total, each.usage
        late = each.late(scenario.deadline)
        rows.append(
            [
                each.kind,
                *(_seconds(value) for value in (total.p50, total.p95, total.p99, total.most)),
                f"{late / usage.instances:.1%}" if late else "0",
                show_size(usage.storage_bytes),
                show_size(usage.origin_bytes),
                f"{usage.gpu_seconds / 3600:,.2f}",
                "-" if each.cost is None else f"{each.cost:,.2f}",
            ]
        )
    headings = (
        "STORAGE",
        ">P50",
        ">P95",
        ">P99",
        ">MAX",
        ">LATE",
        ">READ",
        ">ORIGIN",
        ">GPU h",
        f">{scenario.currency}",
    )
    print_table(headings, rows)
    names = [
        name for name in _phase_names(outcomes) if any(each.phases and each.phases[name].most for each in outcomes)
    ]
    print()
    print_table(
        ("MEAN OF", *(f">{name}" for name in names)),
        [[each.kind, *(_seconds(each.phases[name].mean) for name in names)] for each in outcomes if each.phases],
    )
    print(
        f"\n{show_count(outcomes[0].usage.instances, 'instance')}, {show_size(scenario.size)} each; late: not loaded "
        f"{show_seconds(scenario.deadline, whole=True)} after they were asked for; {scenario.currency}: GPU time of that"
    )
    for each in outcomes:
        if each.lost_starts:
            failed = f", {each.failed:,} were given up" if each.failed else ""
            print(f"{each.kind}: {show_count(each.lost_starts, 'start')} ended at the deadline{failed}")


def _phase_names(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(name for each in outcomes for name in each.phases))


def _seconds(value: float) -> str:
    return "never" if value == float("inf") else show_seconds(value)


def print_validation(found: Validation) -> None:
    """Predicted beside measured."""
    from hoist.advise.validate import validation_notes, validation_rows

    print(printable(found.title))
    headings, *rows = validation_rows(found)
    print_table((headings[0], *(f">{name}" for name in headings[1:])), rows)
    for line in validation_notes(found):
        print(line)
    print()


def print_timing(found: Sequence[dict[str, Any]]) -> None:
    """How long the simulator took, a row a size."""
    rows = []
    for each in found:
        micro = each["seconds"] / each["instances"] * 1e6
        rows.append(
            (
                f"{each['instances']:,}",
                each["work"],
                f"{each['seconds']:.2f} s",
                f"{micro:.1f}",
                f"{each['peak_bytes'] / 2**20:.0f} MiB",
            )
        )
    print_table((">INSTANCES", "WORK", ">SECONDS", ">us EACH", ">PEAK"), rows)
