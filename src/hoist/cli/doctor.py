"""`hoist doctor`: what works on this machine, and the mend for what does not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_json
from hoist.cli.text import print_json, printable, show_count, show_seconds

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.checkup.report import Finding, Report

GROUP = "look and check"
_COLOURS = {"ok": "32", "warning": "33", "missing": "2", "failed": "31"}
_WORD_WIDTH = len("warning")


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "doctor",
        run_doctor,
        "Find out what works on this machine, with the mend for what does not",
        about="Without STORAGE: every storage that is configured. Writes only small files under .hoist/tmp of a storage (a "
        "directory without a large file gets one of 64 MiB to measure with), and removes them. Exits with 1 if something "
        "failed.",
        examples=("hoist doctor", "hoist doctor nas s3://models --read-only", "hoist doctor /srv/models --json"),
    )
    parser.add_argument("storages", metavar="STORAGE", nargs="*", help="a name from hoist.toml, a URL or a path")
    parser.add_argument("--read-only", action="store_true", help="write nothing, not even what is removed at once")
    parser.add_argument(
        "--limit", type=float, default=15.0, metavar="SECONDS", help="time for the storages, all at once (default: 15)"
    )
    add_json(parser)


def run_doctor(args: Namespace) -> int:
    """Check, and say what was found; 1 if something failed."""
    from hoist.checkup.run import doctor
    from hoist.errors import UsageError

    if not 0 < args.limit <= 3600:
        raise UsageError(f"--limit is above 0 and at most 3600 seconds, not {args.limit:g}")
    report = doctor(*args.storages, read_only=args.read_only, limit_seconds=args.limit)
    if args.json:
        print_json(_document(report))
    else:
        _print(report)
    return 0 if report.healthy else 1


def _document(report: Report) -> dict[str, object]:
    return {
        "healthy": report.healthy,
        "seconds": report.seconds,
        "findings": [
            {
                "group": item.group,
                "name": item.name,
                "status": item.status,
                "detail": item.detail,
                "mend": item.mend or None,
                "figures": dict(item.figures),
            }
            for item in report.findings
        ],
    }


def _print(report: Report) -> None:
    coloured = _coloured()
    width = max(len(item.name) for item in report.findings)
    last = ""
    for item in report.findings:
        if item.group != last:
            print(("\n" if last else "") + printable(item.group))
            last = item.group
        _print_finding(item, width, coloured=coloured)
    print(f"\n{_summary(report)} ({show_seconds(report.seconds)})")


def _print_finding(item: Finding, width: int, *, coloured: bool) -> None:
    word = item.status.ljust(_WORD_WIDTH)
    shown = f"\x1b[{_COLOURS[item.status]}m{word}\x1b[0m" if coloured else word
    print(f"  {shown}  {item.name.ljust(width)}  {printable(item.detail)}")
    if item.mend:
        print(f"{' ' * (width + _WORD_WIDTH + 6)}mend: {printable(item.mend)}")


def _summary(report: Report) -> str:
    from hoist.checkup.report import STATUSES

    counts = {status: report.count(status) for status in STATUSES}
    parts = [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [show_count(counts["warning"], "warning")] if counts["warning"] else []
    parts += [f"{counts['missing']} optional missing"] if counts["missing"] else []
    return ", ".join([*parts, f"{counts['ok']} ok"]) + ("" if counts["failed"] else ": nothing failed")


def _coloured() -> bool:
    from hoist.config import current_environ

    environ = current_environ()
    return sys.stdout.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
