"""What a herd shall reach, beside what the records say of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf

from hoist.bench.herd_figures import Curve, Herd, Point, herds
from hoist.bench.table import Record
from hoist.bench.target import Target

_OVER_IDEAL, _UNFAIRNESS = 1.15, 1.3
_COLD, _ORIGIN, _SOONER = 16, 1.02, 3.0


def herd_targets(records: Sequence[Record]) -> list[Target]:
    """A row a target that the records say something of."""
    found: list[Target] = []
    for herd in herds(records):
        for storage in ("nas", "oss", "image"):
            if storage in herd.curves:
                found += _fair(herd, herd.curves[storage])
        if "accl" in herd.curves:
            found += _accelerated(herd, herd.curves["accl"])
    return found


def _fair(herd: Herd, curve: Curve) -> Iterator[Target]:
    """The target is the NAS's; the others are shown beside it."""
    judged = curve.storage == "nas" and herd.how == "namespaces"
    points = curve.points.values()
    rate = (curve.shaped["storage"] or 0) / 1e6
    work = f"herd of 1 to {max(curve.points)}, {curve.storage} of {rate:,.0f} MB/s"
    worst = max(points, key=lambda point: point.over_ideal)
    yield _target(
        f"{work}: until the last has loaded",
        "bytes over bandwidth",
        _OVER_IDEAL,
        worst.over_ideal,
        judged,
        _each(points, lambda point: point.over_ideal),
    )
    worst = max(points, key=lambda point: point.unfairness)
    yield _target(
        f"{work}: the slowest instance",
        "the median",
        _UNFAIRNESS,
        worst.unfairness,
        judged,
        _each(points, lambda point: point.unfairness),
    )


def _accelerated(herd: Herd, curve: Curve) -> Iterator[Target]:
    count = max(curve.points)
    point = curve.points[count]
    enough = count >= _COLD and herd.how == "namespaces"
    work = f"{count} cold instances through the accelerator"
    copies = point.origin_bytes / herd.size
    yield _target(f"{work}: origin bytes", "the model", _ORIGIN, copies, enough, f"{point.failed} failed")
    direct = herd.curves.get("oss")
    if direct and count in direct.points:
        slow = direct.points[count].slowest
        ratio = slow / point.slowest if point.slowest < inf else 0.0
        beside = f"{point.slowest:.2f} s, direct {slow:.2f} s, ideal {point.ideal:.2f} s, machine busy {point.busy:.0%}"
        met = ratio >= _SOONER if enough else None
        yield Target(f"{work}: the last has loaded", f"{_SOONER:g} x sooner than direct", f"{ratio:.2f} x", met, beside)


def _target(work: str, of: str, most: float, measured: float, judged: bool, beside: str) -> Target:
    shown = "never" if measured == inf else f"{measured:.3f} x"
    return Target(work, f"at most {most:g} x {of}", shown, measured <= most if judged else None, beside)


def _each(points: Iterable[Point], value: Callable[[Point], float]) -> str:
    return ", ".join(f"{point.instances}: {value(point):.2f}" for point in points)
