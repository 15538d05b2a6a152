"""The verb that shows what was measured, and what it means, as one page: report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, completes
from hoist.cli.text import printable, show_count, show_size

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.report.verb import Report

GROUP = "advise"


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "report",
        run_report,
        "Make one page of what was measured, and of what it means for your fleet",
        about="The page needs no network and no server: first and second switch, the herd's curve, waterfalls, the\n"
        "storages compared, cost against start time, and the records themselves. Records are what\n"
        "hoist bench and hoist demo write.",
        examples=(
            "hoist report figures.jsonl -o report.html",
            "hoist report switch.jsonl herd.jsonl --scenario case.toml --traces traces.jsonl --lang zh",
        ),
    )
    add = parser.add_argument
    completes(add("records", metavar="RECORDS", nargs="+", help="files of records, as --record writes them"), "file")
    text = "write it to this file (default: report.html)"
    completes(add("-o", "--output", metavar="FILE", default="report.html", help=text), "file")
    text = "the case to judge, in TOML, as hoist advise takes it (default: the measured models)"
    completes(add("--scenario", metavar="FILE", help=text), "file")
    text = "traces of starts and switches to draw: a file, or a function's URL"
    completes(add("--traces", metavar="FILE", help=text), "file")
    add("--lang", choices=("en", "zh", "both"), default="both", help="languages of the page (default: both)")


def run_report(args: Namespace) -> int:
    """Make the page, and say where it is."""
    from hoist.report.verb import write_report

    made = write_report(args.records, args.output, scenario=args.scenario, language=args.lang, traces=args.traces)
    print(said_of(made))
    return 0


def said_of(made: Report) -> str:
    """A line about a page that was written."""
    traces = f" and {show_count(made.traces, 'trace')}" if made.traces else ""
    return printable(
        f"{made.path}: {show_count(made.records, 'record')}{traces}, {show_size(made.size)}; open it in a browser"
    )
