"""The figures: both charts of the experiment, the herd's curves, and cost against start time. Numbers and names only: what
is a sentence stands beside them in the page, in both languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Final

from hoist.advise.words import money
from hoist.bench.herd_figures import Curve, Herd
from hoist.formatting import printable
from hoist.report.drawing import COLOUR, POINTS, WIDE, new_figure, plain_axes, to_svg
from hoist.report.switches import HOIST, Experiment, Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR, _GAP, _ROW = 0.34, 0.03, 30
_BESIDE_EACH_OTHER = 4
# CSS pixels: above a panel, above and below it together, between two, and of the names to its left.
_ABOVE, _HEAD, _BETWEEN = 26, 54, 18
_NAMES = {True: 168, False: 122}
_SMALL = 10.0
_TIMES: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 14400)


def shortened(name: str, most: int) -> str:
    """A name that fits: without its suffix, and with its middle left out."""
    shown = printable(name)
    for suffix in (".safetensors", ".ckpt"):
        shown = shown.removesuffix(suffix)
    return shown if len(shown) <= most else f"{shown[: most - most // 3 - 1]}…{shown[-(most // 3) :]}"


def switch_chart(found: Experiment, switch: str, width: int, colours: Mapping[str, str], name: str, label: str) -> str:
    """A panel a storage, a row a model, Hoist above the loader beside it; all under one scale."""
    wide = width == WIDE
    stores = [store for store in found.stores if any(key[2] == switch for key in store.measured)]
    columns = min(_BESIDE_EACH_OTHER, len(stores)) if wide else 1
    lines, files = ceil(len(stores) / columns), list(found.sizes)
    figure = new_figure(width, lines * (len(files) * _ROW + _HEAD))
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    _lay_out(figure, lines, columns, len(files) * _ROW, _NAMES[wide])
    most = 25 if wide else 17
    for axes in panels.flat[len(stores) :]:
        axes.set_visible(False)
    for number, (axes, store) in enumerate(zip(panels.flat, stores, strict=False)):
        _panel(axes, store, switch, files, COLOUR[colours[store.name]])
        axes.set_title(shortened(store.name, 30), loc="left", color=COLOUR["ink"], fontsize=13, fontweight="bold")
        axes.set_yticks(range(len(files)), [shortened(file, most) for file in files], fontsize=_SMALL + 0.5)
        axes.tick_params(axis="y", length=0, labelcolor=COLOUR["ink"], labelleft=number % columns == 0)
        axes.tick_params(axis="x", labelbottom=True)
    # Room for the figures at the bars' ends.
    measured = (
        each
        for store in stores
        for (_, loader, which), each in store.measured.items()
        if which == switch and loader in (HOIST, store.beside)
    )
    high = max((value for each in measured for value in each.seconds), default=0.0) or 1.0
    panels[0, 0].set_xlim(0, high * (1.22 if columns < 3 else 1.4))
    panels[0, 0].set_ylim(len(files) - 0.4, -0.6)
    return to_svg(figure, name, label)


def _lay_out(figure: Figure, lines: int, columns: int, height: float, names: float) -> None:
    """Panels of this height beside and below each other, with room for names to the left: all of it is known, so
    nothing needs to be measured."""
    width, whole = figure.get_figwidth() * POINTS, lines * (height + _HEAD)
    panel = (width - names - 8 - (columns - 1) * _BETWEEN) / columns
    figure.subplots_adjust(
        left=names / width,
        right=1 - 8 / width,
        top=1 - _ABOVE / whole,
        bottom=(_HEAD - _ABOVE) / whole,
        wspace=_BETWEEN / panel,
        hspace=_HEAD / height,
    )


def _panel(axes: Axes, store: Store, switch: str, files: Sequence[str], colour: str) -> None:
    plain_axes(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)
    for place, loader in ((-1, HOIST), (1, store.beside)):
        found = [(row, store.measured.get((file, loader or "", switch))) for row, file in enumerate(files)]
        bars = [(row + place * (_BAR + _GAP) / 2, each) for row, each in found if each]
        if not bars:
            continue
        own = loader == HOIST
        axes.barh(
            [at for at, _ in bars],
            [each.median for _, each in bars],
            _BAR,
            color=colour,
            alpha=1 if own else 0.38,
            linewidth=0,
        )
        dots = [(seconds, at) for at, each in bars if len(each.seconds) > 1 for seconds in each.seconds]
        if dots:
            axes.scatter(
                [seconds for seconds, _ in dots],
                [at for _, at in dots],
                s=7,
                color=COLOUR["ink"],
                linewidths=0,
                alpha=0.7,
            )
        for at, each in bars:
            axes.annotate(
                digits(each.median),
                (max(each.seconds), at),
                (5, 0),
                textcoords="offset points",
                va="center_baseline",
                fontsize=_SMALL,
                color=COLOUR["ink" if own else "soft"],
            )


def digits(seconds: float) -> str:
    """Seconds with as many digits as mean something."""
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}" if seconds < 100 else f"{seconds:,.0f}"


def herd_chart(herd: Herd, width: int, colours: Mapping[str, str], name: str, label: str) -> str:
    """How long the slowest takes by how many start at once, at full scale; rings where one storage passes another."""
    figure = new_figure(width, 400 if width == WIDE else 330)
    axes = _one(figure, 44)
    plain_axes(axes)
    for curve in herd.curves.values():
        _curve(axes, curve, herd.time_scale, COLOUR[colours[curve.storage]])
    counts = sorted({count for curve in herd.curves.values() for count in curve.points})
    for seconds in sorted({limit / herd.time_scale for limit in herd.deadlines.values()}):
        axes.axhline(seconds, color=COLOUR["ink"], linewidth=1, linestyle=":")
        axes.annotate(
            f"{seconds:.0f} s",
            (counts[0], seconds),
            (0, 3),
            textcoords="offset points",
            color=COLOUR["ink"],
            fontsize=_SMALL,
        )
    for _, second, count in herd.crossovers():
        at = _between(herd.curves[second].slowest, count) / herd.time_scale
        axes.plot([count], [at], "o", markersize=11, fillstyle="none", color=COLOUR["ink"], markeredgewidth=1.3)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.margins(x=0.04)
    _seconds(axes)
    return to_svg(figure, name, label)


def _one(figure: Figure, names: float) -> Axes:
    """Axes that fill a figure, with room for the ticks' names."""
    width, height = (each * POINTS for each in figure.get_size_inches())
    axes = figure.subplots()
    figure.subplots_adjust(left=names / width, right=1 - 12 / width, top=1 - 12 / height, bottom=28 / height)
    return axes


def _curve(axes: Axes, curve: Curve, time_scale: float, colour: str) -> None:
    points = [point for point in curve.points.values() if point.slowest < inf]
    counts = [point.instances for point in points]
    slowest = [point.slowest / time_scale for point in points]
    axes.plot(counts, slowest, "o-", color=colour, markersize=5, linewidth=2)
    axes.fill_between(
        counts, [point.p50 / time_scale for point in points], slowest, color=colour, alpha=0.16, linewidth=0
    )
    axes.plot(counts, [point.ideal / time_scale for point in points], "--", color=colour, linewidth=1)


def _between(curve: Mapping[int, float], count: int) -> float:
    """The curve at a number of instances, straight between what was measured."""
    low = max(at for at in curve if at <= count)
    high = min(at for at in curve if at >= count)
    part = (count - low) / (high - low) if high > low else 0.0
    return curve[low] + part * (curve[high] - curve[low])


def _seconds(axes: Any) -> None:
    """Ticks that people count in, as far as the axis goes."""
    low, high = axes.get_ylim()
    ticks = [tick for tick in _TIMES if low <= tick <= high]
    axes.minorticks_off()
    if len(ticks) > 1:
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


@dataclass(frozen=True, slots=True)
class Spot:
    """One storage in one size: seconds at p95 and money a month. `way` is best, least or other."""

    kind: str
    way: str
    seconds: float
    cost: float


def _place(spot: Spot, spots: Sequence[Spot]) -> tuple[float, float]:
    """Where a storage's name stands, in points from it: below, or where another one's would stand there too, elsewhere."""
    high = max(each.cost for each in spots) or 1.0
    same = [
        each.kind
        for each in spots
        if each.way == "best" and 0.8 < each.seconds / spot.seconds < 1.25 and abs(each.cost - spot.cost) < 0.05 * high
    ]
    return ((0, -14), (0, 14), (28, 0), (-28, 0))[same.index(spot.kind) % 4]


def scatter_chart(spots: Sequence[Spot], deadline: float, currency: str, width: int, name: str, label: str) -> str:
    """Cost a month against the p95 of a start."""
    figure = new_figure(width, 380 if width == WIDE else 320)
    axes = _one(figure, 62)
    plain_axes(axes)
    for spot in spots:
        colour = COLOUR[spot.kind]
        ways: dict[str, dict[str, Any]] = {
            "best": {"marker": "o", "markersize": 11},
            "least": {"marker": "o", "markersize": 10, "fillstyle": "none", "markeredgewidth": 1.6},
            "other": {"marker": "x", "markersize": 9, "markeredgewidth": 1.8},
        }
        axes.plot([spot.seconds], [spot.cost], linestyle="none", color=colour, **ways[spot.way])
        if spot.way == "best":
            place: dict[str, Any] = {"xytext": _place(spot, spots), "textcoords": "offset points"}
            axes.annotate(
                spot.kind, (spot.seconds, spot.cost), color=colour, fontweight="bold", ha="center", va="center", **place
            )
    axes.axvline(deadline, color=COLOUR["ink"], linewidth=1, linestyle=":")
    axes.set_xscale("log")
    axes.margins(0.12)
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TIMES if low <= tick <= high]
    axes.minorticks_off()
    if len(ticks) > 1:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.yaxis.set_major_formatter(lambda value, at: money(value, currency).removesuffix(".00"))
    return to_svg(figure, name, label)
