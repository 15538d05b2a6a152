"""`hoist trace`: where the time of a start, a switch or a load went, and how two of them differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_json, completes
from hoist.cli.text import print_json, print_table, show_rate, show_size

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.function.compare import Compared
    from hoist.function.trace import Phase, Trace

GROUP = "look and check"


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "trace",
        run_trace,
        "Show where the time of a start, switch or load went, or compare two",
        about=(
            "Reads what hoist load --trace and hoist fleet --trace write, or what a function of hoist serve tells at "
            "/trace. Of several traces the last is shown, after a list of all. With OTHER, or two numbers, two are "
            "compared: the ratio is the second's time by the first's."
        ),
        examples=(
            "hoist trace http://127.0.0.1:8000 --html switch.html",
            "hoist trace cold.jsonl warm.jsonl",
            "hoist trace loads.jsonl --number 1 --number -1",
        ),
    )
    add = parser.add_argument
    completes(add("place", metavar="FILE_OR_URL", help="traces as JSON or JSON lines, or a function's address"), "file")
    completes(
        add("other", metavar="OTHER", nargs="?", help="compare with the trace in this file or at this URL"), "file"
    )
    number = "which trace, from 1; from the end if negative (default: the last); a second one: that of OTHER"
    add("--number", type=int, action="append", default=[], metavar="N", help=number)
    completes(add("--html", metavar="FILE", help="write a page of it, which needs no network"), "file")
    add("--otlp", metavar="URL", help="send what is shown to an OpenTelemetry collector, as http://127.0.0.1:4318")
    completes(add("--token-file", metavar="FILE", help="has the function's token, where it wants one"), "file")
    add_json(parser)


def run_trace(args: Namespace) -> int:
    """Read, choose, show."""
    from hoist.errors import UsageError
    from hoist.function.trace_file import choose, read_traces

    numbers: list[int | None] = [*args.number]
    if len(numbers) > 2:
        raise UsageError("--number is given twice at most")
    token = _token(args.token_file)
    traces = read_traces(args.place, token)
    first = choose(traces, numbers[0] if numbers else None, args.place)
    if args.other is None and len(numbers) < 2:
        _finish_one(args, traces if not numbers else (first,), first)
        return 0
    name = args.other or args.place
    others = read_traces(args.other, token) if args.other else traces
    second = choose(others, numbers[-1] if numbers else None, name)
    _finish_two(args, first, second, _names(args, numbers))
    return 0


def _names(args: Namespace, numbers: Sequence[int | None]) -> tuple[str, str]:
    """What tells the two apart: their files, or their numbers in one file."""
    if args.other and args.other != args.place:
        return args.place, args.other
    return f"{args.place}, {numbers[0]}", f"{args.place}, {numbers[-1]}"


def _token(file: str | None) -> str | None:
    from pathlib import Path

    from hoist.errors import UsageError
    from hoist.read.source import local_error

    if file is None:
        return None
    try:
        token = next(iter(Path(file).read_text().split("\n")), "").strip()
    except OSError as error:
        raise local_error(error, Path(file)) from None
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isascii() or not token.isprintable():
        raise UsageError(f"{file} holds no token: its first line is wanted")
    return token


def _finish_one(args: Namespace, traces: Sequence[Trace], shown: Trace) -> None:
    from hoist.function.waterfall_html import waterfall_page

    _send(args.otlp, traces)
    if args.html:
        _write(args.html, waterfall_page(traces, f"Hoist: {shown.kind} {shown.model}"))
    if args.json:
        print_json(shown.to_document() | {"seconds": shown.seconds, "phases": [_phase(each) for each in shown.phases]})
        return
    from hoist.cli.waterfall import print_waterfall

    if len(traces) > 1:
        _print_list(traces)
    print_waterfall(shown, shown.seconds)


def _finish_two(args: Namespace, first: Trace, second: Trace, names: tuple[str, str]) -> None:
    from hoist.cli.waterfall import print_waterfall
    from hoist.function.compare import compare
    from hoist.function.waterfall_html import comparison_page

    found = compare(first, second)
    _send(args.otlp, (first, second))
    if args.html:
        _write(args.html, comparison_page(first, second, names))
    if args.json:
        sides = {"before": first.to_document(), "after": second.to_document()}
        print_json(sides | {"phases": [_both(each) for each in found]})
        return
    for trace, name in ((first, f"before ({names[0]})"), (second, f"after ({names[1]})")):
        print_waterfall(trace, max(first.seconds, second.seconds), name)
        print()
    _print_compared(found)


def _print_list(traces: Sequence[Trace]) -> None:
    from hoist.function.waterfall import show_time

    rows = [
        (str(number), trace.kind, trace.model, trace.outcome, show_time(trace.seconds), show_size(trace.fetched_bytes))
        for number, trace in enumerate(traces, 1)
    ]
    print_table((">NR", "KIND", "MODEL", "OUTCOME", ">TIME", ">FETCHED"), rows)
    print()


def _print_compared(found: Sequence[Compared]) -> None:
    from hoist.function.waterfall import show_ratio

    moved = (">BYTES", ">BANDWIDTH")
    rows = [(each.name, *_cells(each.before), *_cells(each.after), show_ratio(each.ratio)) for each in found]
    print_table(("PHASE", ">BEFORE", *moved, ">AFTER", *moved, ">RATIO"), rows)


def _cells(phase: Phase | None) -> tuple[str, str, str]:
    from hoist.function.waterfall import show_time

    if phase is None:
        return "-", "", ""
    moved = (show_size(phase.bytes), show_rate(phase.bytes, phase.seconds)) if phase.bytes else ("", "")
    return show_time(phase.seconds), *moved


def _phase(phase: Phase) -> dict[str, object]:
    return {
        "phase": phase.name,
        "begin": phase.begin,
        "end": phase.end,
        "seconds": phase.seconds,
        "size_bytes": phase.bytes,
        "bytes_per_second": phase.bytes_per_second,
    }


def _both(each: Compared) -> dict[str, object]:
    sides = {
        f"{side}_{key}": value for side in ("before", "after") for key, value in _side(getattr(each, side)).items()
    }
    return {"phase": each.name, **sides, "ratio": each.ratio, "bandwidth_ratio": each.bandwidth_ratio}


def _side(phase: Phase | None) -> dict[str, object]:
    if phase is None:
        return dict.fromkeys(("seconds", "bytes", "bytes_per_second"))
    return {"seconds": phase.seconds, "bytes": phase.bytes, "bytes_per_second": phase.bytes_per_second}


def _send(url: str | None, traces: Sequence[Trace]) -> None:
    if url is None:
        return
    from hoist.function.otel import send

    send(url, traces)


def _write(file: str, page: str) -> None:
    from pathlib import Path

    from hoist.read.source import local_error

    try:
        Path(file).write_text(page, encoding="utf-8")
    except OSError as error:
        raise local_error(error, Path(file)) from None
