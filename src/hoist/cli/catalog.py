"""`bench catalog` and `bench startup`: what paperwork, files and starting cost, whatever the bytes do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoist.cli.parser import Parser, add_command, add_json, add_quiet, completes
from hoist.cli.text import print_json, print_table, show_seconds, show_size

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands


def add_catalog(commands: Commands) -> None:
    """Add `bench catalog` and `bench startup`."""
    parser = add_command(
        commands,
        "catalog",
        run_catalogs,
        "Time the manifest and block table of a very large model, and what each file costs",
        about="No weight moves: the paperwork of --files files of --file-size each is made, written, read and removed. "
        "With --small N as many tiny files are published, verified, pulled and removed as well.",
        examples=("hoist bench catalog /srv/models", "hoist bench catalog nas oss --files 1000 --small 1000"),
    )
    parser.add_argument("storages", metavar="STORAGE", nargs="+", help="where to write: names, URLs or paths")
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="files (default: 10,000)")
    parser.add_argument("--file-size", default="100000000", metavar="SIZE", help="of each file (default: 100 MB)")
    parser.add_argument("--small", type=int, default=0, metavar="N", help="tiny files to publish too (default: none)")
    parser.add_argument("--small-size", default="1000", metavar="SIZE", help="of each tiny file (default: 1,000 bytes)")
    _add_common(parser)
    add_quiet(parser)
    parser = add_command(commands, "startup", run_startups, "Time `hoist --help` beside `python -c pass`")
    parser.add_argument("--repeat", type=int, default=20, metavar="N", help="runs, of which medians are shown")
    _add_common(parser)


def _add_common(parser: Parser) -> None:
    record = parser.add_argument("--record", metavar="FILE", help="append the records to this file, as JSON lines")
    completes(record, "file")
    add_json(parser)


def run_catalogs(args: Namespace) -> int:
    """Measure each storage."""
    from hoist.bench.catalog import run_catalog
    from hoist.bench.small_files import run_small_files
    from hoist.cli.progress import make_reporter
    from hoist.config import parse_size

    records: list[dict[str, Any]] = []
    with make_reporter(args.quiet) as progress:
        for storage in args.storages:
            size = parse_size(args.file_size)
            records += run_catalog(storage, files=args.files, file_bytes=size, progress=progress)
            if args.small > 0:
                small = parse_size(args.small_size)
                records += run_small_files(storage, files=args.small, file_bytes=small, progress=progress)
    _keep(args, records)
    if args.json:
        print_json({"records": records})
        return 0
    rows = [
        (
            record["storage"],
            f"{record['files']:,}",
            record["step"],
            show_seconds(record["seconds"]),
            show_seconds(record["cpu_seconds"]),
            show_size(record["peak_bytes"]),
            f"{record['requests']:,}" if "requests" in record else "",
        )
        for record in records
    ]
    print_table(("STORAGE", ">FILES", "STEP", ">TIME", ">CPU", ">PEAK MEMORY", ">REQUESTS"), rows)
    return 0


def run_startups(args: Namespace) -> int:
    """Measure the command line's start."""
    from hoist.bench.startup import run_startup

    records = run_startup(args.repeat)
    _keep(args, records)
    if args.json:
        print_json({"records": records})
        return 0
    rows = [(each["command"], f"{each['seconds'] * 1000:.1f} ms", f"{each['ratio']:.2f}") for each in records]
    print_table(("COMMAND", ">MEDIAN", ">RATIO"), rows)
    return 0


def _keep(args: Namespace, records: list[dict[str, Any]]) -> None:
    if args.record:
        from pathlib import Path

        from hoist.bench.records import append_records

        append_records(Path(args.record), records)
