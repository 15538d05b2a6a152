"""The herd curve as a picture: how long the slowest instance takes, by how many start at once, a line a storage."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoist.bench.herd_figures import Curve, Herd
from hoist.bench.herd_model import show_rate
from hoist.errors import LocalError, UsageError
from hoist.read.source import local_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png", ".pdf")
# Distinct also to those who tell few colours apart (Okabe and Ito).
_COLOURS = {"nas": "#D55E00", "oss": "#0072B2", "accl": "#009E73", "image": "#CC79A7"}
_GREY = "#555555"


def check_plot(path: Path) -> None:
    """Raise UsageError for a name that is no picture's, LocalError where there is nothing to draw with."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {path}: a picture's name ends with {', '.join(SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise LocalError("--plot needs matplotlib: pip install 'hoist[plot]'") from None


def plot_herd(herd: Herd, path: Path) -> None:
    """Draw the curves of one setting. Times are the full model's: measured ones over the time scale.

    Raises UsageError and LocalError as check_plot, and PermissionDenied.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for curve in herd.curves.values():
        _draw(axes, curve, herd.time_scale)
    counts = sorted({count for curve in herd.curves.values() for count in curve.points})
    for name, limit in herd.deadlines.items():
        seconds = limit / herd.time_scale
        axes.axhline(seconds, color=_GREY, linewidth=0.8, linestyle=":")
        axes.annotate(f"{name}, {seconds:.0f} s", (counts[0], seconds), (2, 3), textcoords="offset points", color=_GREY)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    _label_seconds(axes)
    axes.set_xlabel("instances that start at once")
    axes.set_ylabel("seconds until loaded (line: the slowest, band: from the median)", fontsize=9)
    axes.set_title(
        f"A model of {herd.model_size / 2**30:.2f} GiB; bandwidths at {herd.scale:g}, times at {herd.time_scale:.3f} "
        "of full scale, shown at full scale",
        fontsize=9,
    )
    axes.grid(visible=True, which="major", alpha=0.25)
    axes.plot([], [], "--", color=_GREY, linewidth=0.9, label="bytes over bandwidth")
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(herd.curves) + 1, frameon=False)
    try:
        # No date in it: the same records draw the same file.
        more: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix.lower() == ".svg" else {}
        figure.savefig(path, dpi=120, **more)
    except OSError as error:
        raise local_error(error, path) from None


def _draw(axes: Axes, curve: Curve, time_scale: float) -> None:
    points = [point for point in curve.points.values() if point.slowest < inf]
    counts = [point.instances for point in points]
    colour = _COLOURS.get(curve.storage, _GREY)
    rate = show_rate(curve.rates["storage"] or inf)
    label = f"{curve.storage}, {rate}"
    axes.plot(counts, [point.slowest / time_scale for point in points], "o-", color=colour, label=label, markersize=4)
    low, high = [point.p50 / time_scale for point in points], [point.slowest / time_scale for point in points]
    axes.fill_between(counts, low, high, color=colour, alpha=0.15, linewidth=0)
    ideal = [point.ideal / time_scale for point in points]
    axes.plot(counts, ideal, "--", color=colour, linewidth=0.9)


def _label_seconds(axes: Axes) -> None:
    """Ticks that people count in, as far as the axis goes."""
    low, high = axes.get_ylim()
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600) if low <= t <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
