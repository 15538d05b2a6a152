"""Figures as SVG inside the page: drawn by matplotlib, coloured by the page's own variables, so that dark works too."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from hoist.errors import LocalError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stand for variables of style.css until the figure is drawn.
_VARIABLES: Final = (
    *("ink", "soft", "line", "card", "track"),
    *("nas", "oss", "accl", "image", "other-1", "other-2", "other-3", "other-4"),
)
COLOUR: Final = {name: f"#fe01{number:02x}" for number, name in enumerate(_VARIABLES)}
"""By variable, what to tell matplotlib."""
_NARROW: Final = 340
WIDE: Final = 1000
WIDTHS: Final = {"wide": WIDE, "narrow": _NARROW}
"""Two drawings of each figure, in CSS pixels: one for desks, one for phones."""
POINTS: Final = 72
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11.5,
    "axes.unicode_minus": False,
    "path.simplify": False,
}


def check_library() -> None:
    """Raise LocalError where there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise LocalError("a report needs matplotlib: pip install 'hoist[plot]'") from None


def colours_of(kinds: list[tuple[str, str]]) -> dict[str, str]:
    """A variable for each storage, given with its kind: the kind's own for the first of it."""
    found: dict[str, str] = {}
    rest = [f"other-{number}" for number in range(1, 5)]
    for name, kind in kinds:
        if kind in _VARIABLES and kind not in found.values():
            found[name] = kind
        else:
            found[name] = rest[len(found) % len(rest)]
    return found


@contextmanager
def drawing() -> Iterator[None]:
    """Settings that figures are made and saved under."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # The browser has the glyphs; matplotlib only measures with its own font.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def new_figure(width: int, height: float) -> Figure:
    """An empty figure of so many CSS pixels."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / POINTS, height / POINTS))
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    return figure


def plain_axes(axes: Axes, *, grid: str = "both") -> None:
    """Thin lines in the page's colours."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(COLOUR["line"])
    axes.tick_params(which="both", color=COLOUR["line"], labelcolor=COLOUR["soft"], length=3)
    if grid == "both" or grid == "x":
        axes.xaxis.grid(visible=True, color=COLOUR["line"], linewidth=0.8)
    if grid == "both" or grid == "y":
        axes.yaxis.grid(visible=True, color=COLOUR["line"], linewidth=0.8)
    axes.set_axisbelow(True)


def to_svg(figure: Figure, name: str, labelled: str) -> str:
    """The figure as an `<svg>` of the page. `name` keeps its identifiers apart; `labelled` is the id of its heading."""
    import matplotlib as mpl

    out = io.StringIO()
    more: dict[str, Any] = {"metadata": {"Date": None, "Creator": None}}
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, **more)
    return _inline(out.getvalue(), name, labelled)


def _inline(text: str, name: str, labelled: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # A style of its own would be the whole page's.
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box, "matplotlib writes one"
    head = f'<svg role="img" aria-labelledby="{labelled}" {box[0]}>'
    text = re.sub(r"<svg[^>]*>", head, text, count=1, flags=re.DOTALL)
    used = set(re.findall(r"(?:#|url\(#)([\w-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda found: _kept(found[1], used, name), text)
    text = re.sub(r'((?:xlink:href="#|url\(#))([\w-]+)', rf"\1{name}-\2", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for variable, colour in COLOUR.items():
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r">\s+<", "><", re.sub(r"(\d+\.\d\d)\d+", r"\1", text)).strip()


def _kept(id: str, used: set[str], name: str) -> str:
    return f' id="{name}-{id}"' if id in used else ""
