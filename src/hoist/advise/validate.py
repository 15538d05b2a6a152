"""The simulator beside measured herds: calibrated by one instance alone, it says how long many take. Pure.

From the record of one instance of each storage comes what does not depend on how many there are: its set-up, the
headers of frames, what a cold read cache takes off its origin's link, and CPU seconds a byte (all hosts of a herd are one
machine, whose cores are a resource like its links). The bandwidths are those that the herd was told to have. Nothing else
is taken from records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from statistics import median
from typing import Any

from hoist.advise.performance import Performance
from hoist.advise.simulate import Burst, Model, SimulationInput, simulate
from hoist.bench.comparison import markdown_table
from hoist.bench.herd_figures import Curve, Herd, herds
from hoist.errors import InvalidFile, UsageError

Record = Mapping[str, Any]
_GIB = 1 << 30
# Each prediction is the median over so many seeds, as chance is in the start jitter.
_SEEDS = 5
# nginx's, of who waits for a lock of its cache: a constant of its source, whatever the scale of a herd.
_LOOK_AGAIN = 0.5
# What it keeps, and gives to who waits, is slices of so many bytes (accelerator/settings.py).
_SLICE_BYTES = 8 << 20
MEDIAN_ERROR, WORST_ERROR = 0.10, 0.25


@dataclass(frozen=True, slots=True)
class Row:
    """One storage with so many instances: seconds as predicted and as measured, and how busy the machine was."""

    storage: str
    instances: int
    predicted_p50: float
    predicted_most: float
    measured_p50: float
    measured_most: float
    busy: float

    @property
    def p50_error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted_p50 / self.measured_p50 - 1

    @property
    def most_error(self) -> float:
        """The same of the slowest instance."""
        return self.predicted_most / self.measured_most - 1


@dataclass(frozen=True, slots=True)
class Validation:
    """All rows that the simulator was not calibrated by, of one setting of herds."""

    title: str
    rows: tuple[Row, ...]

    def errors(self) -> tuple[list[float], list[float]]:
        """Absolute ones: of the medians, of the slowest."""
        return [abs(row.p50_error) for row in self.rows], [abs(row.most_error) for row in self.rows]

    @property
    def median_errors(self) -> tuple[float, float]:
        """Of the medians, and of the slowest."""
        p50, most = self.errors()
        return median(p50), median(most)

    @property
    def worst_error(self) -> float:
        """The largest of all."""
        p50, most = self.errors()
        return max(*p50, *most)

    @property
    def met(self) -> bool:
        """Whether it predicts as well as it shall."""
        return max(self.median_errors) <= MEDIAN_ERROR and self.worst_error <= WORST_ERROR


def validate(records: Iterable[Record]) -> list[Validation]:
    """Predicted beside measured, for each setting of the herds in `records`.

    Raises UsageError where there is no herd, or none that has one instance alone and several; InvalidFile for a record
    that lacks what those of this Hoist have.
    """
    kept = [dict(record) for record in records]
    cores = _cores(kept)
    found = []
    try:
        measured = herds(kept)
    except KeyError as error:
        raise InvalidFile(f"a record of a herd has no {error}: another Hoist made it; measure again") from None
    for herd in measured:
        rows = [row for curve in herd.curves.values() for row in _rows(herd, curve, cores)]
        if rows:
            scales = f"bandwidths at {herd.scale:g}, times at {herd.time_scale:.3f}"
            found.append(Validation(f"{herd.model_size / _GIB:.2f} GiB, {scales}, {herd.how}", tuple(rows)))
    if not found:
        raise UsageError("no herd to compare with: hoist bench herd --instances 1,2,4 --record FILE makes one")
    return found


def _cores(records: Sequence[Record]) -> int:
    return max((record["machine"].get("cores") or 1 for record in records if record["bench"] == "herd"), default=1)


def _rows(herd: Herd, curve: Curve, cores: int) -> Iterable[Row]:
    one = curve.points.get(1)
    if one is None or one.p50 == inf:
        return
    performance = calibrated(herd, curve, cores)
    for count, point in curve.points.items():
        if count > 1 and point.slowest < inf:
            p50, most = _predicted(herd, curve, performance, count)
            yield Row(curve.storage, count, p50, most, point.p50, point.slowest, point.busy)


def calibrated(herd: Herd, curve: Curve, cores: int) -> Performance:
    """What the record of one instance alone, and the bandwidths that were told, say of a storage."""
    one = curve.points[1]
    headers = max(1.0, one.origin_bytes / herd.size) if curve.origin_bytes_by == "link" else 1.0
    link, storage = _rate(curve, "instance") / headers, _rate(curve, "storage") / headers
    origin: float | None = None
    if curve.shaped.get("origin"):
        setup = _setup(herd)
        # What it takes for one who waits for each byte: by the link, and by what a cold cache does with it.
        origin = min(_rate(curve, "origin") / headers, herd.size / max(1e-9, one.p50 - setup))
    else:
        setup = max(0.0, one.p50 - herd.size / min(link, storage))
    return Performance(
        kind=curve.storage,
        setup_seconds=setup,
        instance_rate=link,
        total_rate=min(storage, _cpu_rate(curve, cores)),
        origin_rate=origin,
        reads=1.0,
        page_cache=False,
        rest_seconds=0.0,
        jitter=0.0,
    )


def _setup(herd: Herd) -> float:
    """Of a bucket that is read directly, by one instance: what it takes beside its bytes."""
    direct = herd.curves.get("oss")
    if direct is None or 1 not in direct.points:
        return 0.0
    rate = min(_rate(direct, "instance"), _rate(direct, "storage"))
    return max(0.0, direct.points[1].p50 - herd.size / rate)


def _cpu_rate(curve: Curve, cores: int) -> float:
    """The bytes a second for which the machine has CPU, by what one instance alone needed."""
    one = curve.points[1]
    each = one.instance_cpu_per_gib + (0.0 if curve.shaped.get("origin") else one.server_cpu_per_gib or 0.0)
    return cores * _GIB / each if each else inf


def _rate(curve: Curve, name: str) -> float:
    return curve.shaped.get(name) or inf


def _predicted(herd: Herd, curve: Curve, performance: Performance, count: int) -> tuple[float, float]:
    """The median and the slowest of so many at once, in the herd's own (scaled) time."""
    given = [
        SimulationInput(
            performance,
            Burst(count),
            (Model(herd.size),),
            links=((_rate(curve, "instance"), 1.0),),
            start_jitter=herd.start_jitter * herd.time_scale,
            look_again=_LOOK_AGAIN,
            slice_size=_SLICE_BYTES,
            seed=seed,
        )
        for seed in range(_SEEDS)
    ]
    totals = [simulate(each).total for each in given]
    return median(each.p50 for each in totals), median(each.most for each in totals)


def validation_rows(found: Validation) -> list[list[str]]:
    """Headings, and a row for each number of instances of each storage."""
    rows = [
        [
            "storage",
            "instances",
            "p50 predicted",
            "measured",
            "error",
            "max predicted",
            "measured",
            "error",
            "machine busy",
        ]
    ]
    for row in found.rows:
        rows.append(
            [
                row.storage,
                f"{row.instances}",
                f"{row.predicted_p50:.2f} s",
                f"{row.measured_p50:.2f} s",
                f"{row.p50_error:+.0%}",
                f"{row.predicted_most:.2f} s",
                f"{row.measured_most:.2f} s",
                f"{row.most_error:+.0%}",
                f"{row.busy:.0%}",
            ]
        )
    return rows


def validation_notes(found: Validation) -> list[str]:
    """What the rows say together, beside what they shall."""
    p50, most = found.median_errors
    return [
        f"median error: of the p50 {p50:.1%}, of the max {most:.1%} (at most {MEDIAN_ERROR:.0%} each); "
        f"the worst of all {found.worst_error:.1%} (at most {WORST_ERROR:.0%}): {'met' if found.met else 'NOT met'}",
        "calibrated by one instance alone of each storage and the bandwidths of the links; those rows are left out",
    ]


def validation_markdown(found: Sequence[Validation]) -> list[str]:
    """The same as Markdown."""
    lines = ["# The simulator beside measured herds", ""]
    for each in found:
        headings, *rows = validation_rows(each)
        lines += [f"### {each.title}", "", *markdown_table(headings, rows), ""]
        lines += [*(f"- {note}" for note in validation_notes(each)), ""]
    return lines[:-1]


def validation_json(found: Validation) -> dict[str, Any]:
    """As `--json` has it."""
    p50, most = found.median_errors
    rows = [{**asdict(row), "p50_error": row.p50_error, "most_error": row.most_error} for row in found.rows]
    return {
        "title": found.title,
        "median_p50_error": p50,
        "median_most_error": most,
        "worst_error": found.worst_error,
        "met": found.met,
        "rows": rows,
    }
