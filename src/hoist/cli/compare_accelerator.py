"""The command that measures an accelerator: `bench accelerator`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hoist.cli.parser import add_command, add_json, add_quiet, completes
from hoist.cli.text import print_json, print_table, printable, show_seconds

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands


def add_accelerator(commands: Commands) -> None:
    """Add `bench accelerator`."""
    parser = add_command(
        commands,
        "accelerator",
        run_accelerator,
        "Measure an accelerator here: a cold herd before a slow origin, and warm throughput",
        about="nginx on loopback is the origin; a relay holds it to a bandwidth. Everything lies in a temporary folder.",
        examples=(
            "hoist bench accelerator --record figures.jsonl",
            "hoist bench accelerator --size 64MiB --instances 4",
        ),
    )
    add = parser.add_argument
    add("--size", default="256MiB", metavar="SIZE", help="of the model (default: 256MiB)")
    add("--instances", type=int, default=16, metavar="N", help="that start at once (default: 16)")
    add("--bandwidth", default="100MiB", metavar="RATE", help="of the origin, bytes a second (default: 100MiB)")
    add("--slice", default="8MiB", metavar="SIZE", help="of the accelerator (default: 8MiB)")
    add("--repeat", type=int, default=1, metavar="N", help="runs, of which medians are shown (default: 1)")
    completes(add("--folder", metavar="FOLDER", help="where to put the temporary folder"), "folder")
    completes(add("--record", metavar="FILE", help="append the records to this file, as JSON lines"), "file")
    add_quiet(parser)
    add_json(parser)


def run_accelerator(args: Namespace) -> int:
    """Measure, and show the targets."""
    import tempfile
    from pathlib import Path

    from hoist.bench.accelerator import Options
    from hoist.bench.accelerator import run_accelerator as run
    from hoist.bench.accelerator_targets import accelerator_targets
    from hoist.bench.records import append_records
    from hoist.bench.targets import HEADINGS
    from hoist.config import parse_size

    def note(record: dict[str, Any]) -> None:
        if not args.quiet:
            line = f"{record['step']}, {record['way']}: {show_seconds(record['seconds'])}"
            print(printable(line), file=sys.stderr, flush=True)

    size, bandwidth = parse_size(args.size), float(parse_size(args.bandwidth))
    options = Options(size, args.instances, bandwidth, args.repeat, parse_size(args.slice))
    with tempfile.TemporaryDirectory(prefix="hoist-bench-", dir=args.folder) as folder:
        records = run(Path(folder), options, note)
    if args.record:
        append_records(Path(args.record), records)
    if args.json:
        print_json(records)
    else:
        print_table(HEADINGS, [target.row for target in accelerator_targets(records)])
    return 0
