"""Progress bars on a terminal, by rich. They go when the verb is done: what stays is what it prints."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from hoist.cli.progress import Reporter
from hoist.cli.text import printable, show_seconds, show_share, show_size

# What amount, rate and time left take at their widest, with the spaces between.
_NUMBERS_WIDTH = 46
_LONGEST_PHASE = 48
_BAR_WIDTHS = (8, 28)


def terminal() -> Console | None:
    """Standard error as a terminal that can draw bars, or None."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal and not console.is_dumb_terminal else None


class _Numbers(ProgressColumn):
    """A column whose text never wraps and has a width of its own, so that nothing jumps."""

    def __init__(self, width: int) -> None:
        super().__init__(Column(width=width, no_wrap=True, justify="right"))


class _Amount(_Numbers):
    def render(self, task: Task) -> Text:
        return Text(show_share(task.completed, task.total or 0))


class _Rate(_Numbers):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{show_size(speed)}/s" if speed else "", style="dim")


class _Left(_Numbers):
    def render(self, task: Task) -> Text:
        """The time left; of a finished phase, the time it took."""
        seconds = task.finished_time if task.finished else task.time_remaining
        return Text("" if seconds is None else show_seconds(seconds, whole=not task.finished), style="dim")


class Bars(Reporter):
    """One bar a phase; a finished phase's bar stays until the verb is done."""

    def __init__(self, console: Console) -> None:
        room = console.width - _NUMBERS_WIDTH - 2
        self._phase_width = max(8, min(_LONGEST_PHASE, room - _BAR_WIDTHS[0]))
        bar = BarColumn(max(_BAR_WIDTHS[0], min(_BAR_WIDTHS[1], room - self._phase_width)))
        phase = TextColumn("{task.description}", table_column=Column(no_wrap=True))
        self._shown = RichProgress(phase, bar, _Amount(19), _Rate(12), _Left(11), console=console, transient=True)
        self._task: TaskID | None = None

    def begin(self, phase: str, total_bytes: int) -> None:
        text = printable(phase)
        if len(text) > self._phase_width:
            text = text[: self._phase_width - 1] + "…"
        self._task = self._shown.add_task(escape(text), total=total_bytes)
        # Not sooner: a verb that fails before its first phase has nothing to draw.
        self._shown.start()

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._shown.advance(self._task, count)

    def end(self) -> None:
        self._task = None

    def close(self) -> None:
        self._shown.stop()
