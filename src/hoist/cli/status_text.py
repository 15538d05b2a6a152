"""A status on a terminal: a table where it is wide enough, else some lines for each storage; what is wrong below it."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Sequence

from hoist.cli.text import print_table, printable, show_count, show_rate, show_seconds, show_size, table_width
from hoist.status.meters import Reading
from hoist.status.state import Lag, Status, StorageStatus
from hoist.status.watch import Past

_HEADINGS = (
    "STORAGE",
    "KIND",
    "REGION",
    ">ANSWERS IN",
    ">MODELS",
    ">VERSIONS",
    ">TAGS",
    ">SIZE",
    "IN STEP",
    "READ NOW",
)
_UNKNOWN = "?"
_WIDEST = 120


def print_status(status: Status, past: Sequence[Past] = (), *, again: bool = False) -> None:
    """Show it, and what went wrong before; `again`: with the time, as it is shown many times."""
    if again:
        print(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.at)))
    width = _width()
    rows = [_row(storage, status) for storage in status.storages]
    if width is None or table_width(_HEADINGS, rows) <= width:
        print_table(_HEADINGS, rows)
    else:
        for storage in status.storages:
            _print_block(storage, status, width)
    _print_more(status, past, width or _WIDEST)
    if again and not sys.stdout.isatty():
        print()


def _width() -> int | None:
    """Columns of the terminal; None where there is none, and a table may be as wide as it likes."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _row(storage: StorageStatus, status: Status) -> tuple[str, ...]:
    return (
        storage.address,
        storage.kind or _UNKNOWN,
        storage.region or "-",
        _state(storage),
        _count(storage.models),
        _count(storage.versions),
        _count(storage.tags),
        _size(storage),
        _step(storage, status),
        ", ".join(_shown(reading) for reading in storage.readings) or "-",
    )


def _state(storage: StorageStatus) -> str:
    """How quickly it answered, or that it did not."""
    if not storage.up:
        return "NO ANSWER" if storage.late else "DOWN"
    seconds = storage.answer_seconds or 0.0
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else show_seconds(seconds)


def _count(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count:,}"


def _size(storage: StorageStatus) -> str:
    if storage.size_bytes is None:
        return _UNKNOWN
    return f"{'>= ' if storage.unsized else ''}{show_size(storage.size_bytes)}"


def _step(storage: StorageStatus, status: Status) -> str:
    """Whether it is what each plan wants of it."""
    if storage.lags:
        return "; ".join(dict.fromkeys("yes" if lag.in_step else _behind(lag) for lag in storage.lags))
    if any(storage.address in plan.targets for plan in status.plans):
        return _UNKNOWN
    return "source" if any(storage.address == plan.source for plan in status.plans) else "-"


def _behind(lag: Lag) -> str:
    parts = [f"{show_count(lag.versions, 'version')} ({show_size(lag.size_bytes)})"] if lag.versions else []
    parts += [show_count(lag.tags, "tag")] if lag.tags else []
    behind = f"{' and '.join(parts)} behind" if parts else ""
    more = [show_count(lag.conflicts, "conflict")] if lag.conflicts else []
    more += [f"{show_count(lag.stuck, 'tag')} stuck"] if lag.stuck else []
    more += [f"{lag.surplus:,} to remove"] if lag.surplus else []
    return ", ".join([*([behind] if behind else []), *more])


def _rate(reading: Reading) -> str:
    return show_rate(reading.bytes_per_second, 1.0)


def _shown(reading: Reading) -> str:
    return f"{_rate(reading)} (probe)" if reading.kind == "probe" else _rate(reading)


def _print_block(storage: StorageStatus, status: Status, width: int) -> None:
    head = ", ".join(filter(None, (storage.kind, storage.region)))
    state = f"answers in {_state(storage)}" if storage.up else _state(storage)
    _print(f"{storage.address}  {head}: {state}" if head else f"{storage.address}: {state}", width, "")
    if storage.versions is not None:
        counts = [show_count(storage.models or 0, "model"), show_count(storage.versions, "version")]
        counts += [show_count(storage.tags or 0, "tag"), _size(storage)]
        _print(", ".join(counts), width, "  ")
    step = _step(storage, status)
    if step != "-":
        _print({"yes": "in step", _UNKNOWN: "not known whether it is in step"}.get(step, step), width, "  ")
    for reading in storage.readings:
        _print(f"read now: {_shown(reading)}", width, "  ")


def _print_more(status: Status, past: Sequence[Past], width: int) -> None:
    """What stands behind the figures, what is wrong, and what was."""
    told: dict[str, list[str]] = {}
    for storage in status.storages:
        for each in _details(storage):
            told.setdefault(each, []).append(storage.address)
    # Storages on one disk share what is counted of it.
    lines = [f"{', '.join(those)}: {each}" for each, those in told.items()]
    wrong = [
        problem.message if problem.message.startswith(storage.address) else f"{storage.address}: {problem.message}"
        for storage in status.storages
        for problem in storage.problems
    ]
    over = {storage.address for storage in status.storages if not storage.problems}
    was = [
        f"{each.storage}: well again; {show_count(each.count, 'problem')} so far, the last at "
        f"{time.strftime('%H:%M:%S', time.localtime(each.at))}: {each.last.message}"
        for each in past
        if each.storage in over
    ]
    for those in (lines, wrong, was):
        if those:
            print()
        for line in those:
            _print(line, width, "", "  ")


def _details(storage: StorageStatus) -> list[str]:
    """Sentences: how old what is missing is, and what was counted where."""
    found = []
    for lag in storage.lags:
        if lag.versions and lag.seconds is not None:
            age = _age(lag.seconds)
            found.append(f"the oldest version that it lacks was published at {lag.source} {age} ago (plan {lag.plan})")
    return found + [_told(reading) for reading in storage.readings]


def _told(reading: Reading) -> str:
    if reading.kind == "probe":
        read = f"{show_size(reading.total_bytes or 0)} of {reading.source}"
        return f"{_rate(reading)}, by reading {read} in {show_seconds(reading.seconds)}"
    what = {"nfs": "NFS mount", "disk": "disk", "accelerator": "accelerator", "mount": "hoist mount"}[reading.kind]
    parts = [f"{_rate(reading)} of all reads of the {what} {reading.source}, over {show_seconds(reading.seconds)}"]
    if reading.call_seconds is not None:
        parts.append(f"{reading.call_seconds * 1e3:.1f} ms a {'READ' if reading.kind == 'nfs' else 'request'}")
    if reading.sent_again:
        parts.append(f"{reading.sent_again:,} sent again")
    if reading.fetched_bytes_per_second is not None:
        parts.append(f"{show_rate(reading.fetched_bytes_per_second, 1.0)} from its origin")
    return ", ".join(parts)


def _age(seconds: float) -> str:
    """Roughly how long: `40 s`, `12 min`, `5 h`, `3 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 129600 else f"{seconds / 86400:.0f} days"


def _print(text: str, width: int, first: str, rest: str = "    ") -> None:
    """`text` in lines no wider than the terminal."""
    shown = printable(text)
    print(textwrap.fill(shown, max(width, 20), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False))
