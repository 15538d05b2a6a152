"""Simulated fleets as a picture: how many have loaded over time, how long starts take, and what the storage gives."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoist.advise.simulate import Outcome
from hoist.bench.herd_plot import check_plot as check_plot
from hoist.read.source import local_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinct also to those who tell few colours apart (Okabe and Ito); the herd's.
_COLOURS = {"nas": "#D55E00", "oss": "#0072B2", "accl": "#009E73", "image": "#CC79A7"}
_GREY = "#555555"
_STEPS = 240
_POINTS = 400


def plot_fleets(outcomes: Sequence[Outcome], deadline: float, path: Path) -> None:
    """Draw the outcomes of one fleet on several storages. Raises as check_plot does, and PermissionDenied."""
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 9.0), layout="constrained")
    FigureCanvasAgg(figure)
    starts, over_time, rates = figure.subplots(3, 1)
    for each in outcomes:
        colour = _COLOURS.get(each.kind, _GREY)
        _draw_starts(starts, each, colour)
        _draw_series(over_time, rates, each, colour)
    if deadline < inf:
        starts.axvline(deadline, color=_GREY, linewidth=0.8, linestyle=":")
        place = {"textcoords": "offset points", "ha": "right", "color": _GREY}
        starts.annotate(f"deadline, {deadline:g} s", (deadline, 0.02), (-3, 0), **place)
    starts.set_xscale("log")
    low, high = starts.get_xlim()
    ticks = [t for t in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200, 36000, 86400) if low <= t <= high]
    starts.set_xticks(ticks, [f"{tick}" for tick in ticks])
    starts.minorticks_off()
    starts.set_xlabel("seconds until loaded")
    starts.set_ylabel("part of the instances")
    over_time.set_xlabel("seconds")
    over_time.set_ylabel("instances loaded (grey: asked for)")
    rates.set_xlabel("seconds")
    rates.set_ylabel("GB/s read (dashed: by the origin)")
    for axes in (starts, over_time, rates):
        axes.grid(visible=True, alpha=0.25)
    handles, labels = over_time.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=max(1, len(labels)), frameon=False)
    try:
        more: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix.lower() == ".svg" else {}
        figure.savefig(path, dpi=120, **more)
    except OSError as error:
        raise local_error(error, path) from None


def _draw_starts(axes: Axes, outcome: Outcome, colour: str) -> None:
    """The cumulative distribution; those that never loaded are what it lacks of 1."""
    times = outcome.times
    found = sorted(b - a for a, b in zip(times.asked, times.loaded, strict=True) if b < inf)
    step = max(1, len(found) // _POINTS)
    shown = [*range(0, len(found), step), *([len(found) - 1] if found else [])]
    axes.step([found[n] for n in shown], [(n + 1) / len(times.asked) for n in shown], where="post", color=colour)


def _draw_series(over_time: Axes, rates: Axes, outcome: Outcome, colour: str) -> None:
    series = outcome.series(_STEPS)
    seconds = [each.second for each in series]
    over_time.plot(seconds, [each.asked for each in series], color=_GREY, linewidth=0.8)
    # A sample is of the begin of its step; the last one has loaded at the end.
    whole = outcome.usage.instances - outcome.failed
    loaded = [*(each.loaded for each in series), whole]
    over_time.plot([*seconds, outcome.usage.seconds], loaded, color=colour, label=outcome.kind)
    rates.plot(seconds, [each.storage_rate / 1e9 for each in series], color=colour)
    if outcome.origin_curve is not None:
        rates.plot(seconds, [each.origin_rate / 1e9 for each in series], "--", color=colour, linewidth=0.9)
