"""A trace on the terminal: a bar a phase under one time scale, with bytes and bandwidth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from hoist.cli.text import printable, show_rate, show_size
from hoist.formatting import short_digest
from hoist.function.trace import DONE
from hoist.function.waterfall import UNMEASURED, Row, bar, moved, rows, show_time

if TYPE_CHECKING:
    from hoist.function.trace import Trace

_HEADINGS = ("PHASE", "TIME", "BYTES", "BANDWIDTH")
_BAR_WIDTHS = (10, 60)
# Where nobody sees how wide the output is.
_WIDTH = 100
_STYLES = {
    **dict.fromkeys(("queue", "provision", "evict", UNMEASURED), "bright_black"),
    **dict.fromkeys(("import", "network", "mount"), "magenta"),
    **dict.fromkeys(("fetch", "verify"), "blue"),
    **dict.fromkeys(("deserialize", "transfer"), "cyan"),
    "warmup": "yellow",
}


def print_waterfall(trace: Trace, whole_seconds: float, name: str = "") -> None:
    """Print a trace as bars on a scale of `whole_seconds`; `name` says which one it is."""
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, soft_wrap=True, width=None if terminal else _WIDTH)
    for line in (*_head(trace, name), "", *_waterfall(trace, whole_seconds, console.width), *_notes(trace)):
        console.print(line)


def _head(trace: Trace, name: str) -> list[str | Text]:
    title = Text(printable(f"{name}: " if name else ""))
    title.append(printable(f"{trace.kind} {trace.model}"), "bold")
    title.append(f"  {show_time(trace.seconds)}", "bold")
    if trace.outcome != DONE:
        title.append(f"  {trace.outcome}", "bold red")
    found: list[str | Text] = [title]
    where = [short_digest(trace.version), trace.storage_kind and f"from {trace.storage_kind}", f"to {trace.device}"]
    found.append(Text(printable(f"  {' '.join(each for each in where if each)}")))
    said = [f"{words} {show_size(count)}" for words, count in moved(trace)]
    if trace.size_bytes:
        said.insert(0, f"size {show_size(trace.size_bytes)}")
    if said:
        found.append(Text(f"  {', '.join(said)}"))
    if trace.error:
        found.append(Text(printable(f"  {trace.error}"), "red"))
    return found


def _waterfall(trace: Trace, whole_seconds: float, width: int) -> list[Text]:
    shown = rows(trace)
    cells = [_HEADINGS, *(_cells(row) for row in shown)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    room = width - sum(widths) - 2 * len(widths) - 2
    length = max(_BAR_WIDTHS[0], min(_BAR_WIDTHS[1], room))
    lines = [Text("  ").append(_line(_HEADINGS, widths), "bold")]
    plain = not _draws()
    for row in shown:
        line = Text("  ").append(_line(_cells(row), widths)).append("  ")
        drawn = bar(row.pieces, whole_seconds, length, plain=plain)
        lines.append(line.append(drawn, _STYLES.get(row.phase.name, "")))
    for line in lines:
        line.rstrip()
    return lines


def _cells(row: Row) -> tuple[str, str, str, str]:
    phase = row.phase
    size = show_size(phase.bytes) if phase.bytes else ""
    return phase.name, show_time(phase.seconds), size, show_rate(phase.bytes, phase.seconds) if size else ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = cells
    return "  ".join(
        [name.ljust(widths[0]), *(each.rjust(wide) for each, wide in zip(numbers, widths[1:], strict=True))]
    )


def _notes(trace: Trace) -> list[str | Text]:
    notes = [Text(printable(f"  {phase.name}: {note}"), "dim") for phase in trace.phases for note in phase.notes]
    return ["", *notes] if notes else []


def _draws() -> bool:
    """Whether the output can show the bars' characters."""
    try:
        "━╸╺".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
