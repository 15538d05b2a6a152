"""The commands that measure what fleets stand on: `bench accelerator`, `bench fleet` and `bench nfs`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hoist.cli.compare import check_repeat
from hoist.cli.parser import add_command, add_json, add_quiet, completes
from hoist.cli.text import print_json, print_table, printable, show_seconds

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from hoist.cli.parser import Commands, Parser


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
    add_common(parser, repeat=1)


def add_fleet(commands: Commands) -> None:
    """Add `bench fleet`."""
    parser = add_command(
        commands,
        "fleet",
        run_fleet,
        "Measure instances that share a host, and a Ray cluster's: their time, memory, and bytes of the origin",
        about="nginx is the origin and counts what it sends. The cluster's nodes are processes of this machine, each with\n"
        "a host cache of its own. Everything lies in a temporary folder, which goes with it.",
        examples=("hoist bench fleet --record figures.jsonl", "hoist bench fleet --size 64MiB --instances 4 --no-ray"),
    )
    add = parser.add_argument
    add("--size", default="1GiB", metavar="SIZE", help="of the model (default: 1GiB)")
    add("--instances", type=int, default=8, metavar="N", help="of one host, beside one alone (default: 8)")
    add("--nodes", type=int, default=3, metavar="N", help="of the Ray cluster (default: 3)")
    add("--each", type=int, default=4, metavar="N", help="instances on each node (default: 4)")
    add("--no-ray", action="store_true", help="leave the cluster out")
    add_common(parser, repeat=3)


def add_nfs(commands: Commands) -> None:
    """Add `bench nfs`."""
    parser = add_command(
        commands,
        "nfs",
        run_nfs,
        "Measure loads by nfs:// beside the best that libnfs reads, on an nfs-ganesha of its own",
        about="Needs root. Everything lies in a temporary folder, which goes with it.",
        examples=("sudo hoist bench nfs --record figures.jsonl", "sudo hoist bench nfs --size 256MiB --repeat 3"),
    )
    parser.add_argument("--size", default="2GiB", metavar="SIZE", help="of the model (default: 2GiB)")
    add_common(parser, repeat=5)


def add_common(parser: Parser, repeat: int) -> None:
    """Add what all of these commands take."""
    add = parser.add_argument
    shown = f"runs, of which medians are shown (default: {repeat})"
    add("--repeat", type=int, default=repeat, metavar="N", help=shown)
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
    from hoist.config import parse_size

    check_repeat(args)
    size, bandwidth = parse_size(args.size), float(parse_size(args.bandwidth))
    options = Options(size, args.instances, bandwidth, args.repeat, parse_size(args.slice))
    tell = teller(args, lambda r: f"{r['step']}, {r['way']}: {show_seconds(r['seconds'])}")
    with tempfile.TemporaryDirectory(prefix="hoist-bench-", dir=args.folder) as folder:
        return finish(args, run(Path(folder), options, tell), accelerator_targets)


def run_fleet(args: Namespace) -> int:
    """Measure, and show the targets."""
    from pathlib import Path

    from hoist.bench.fleet import Options, run_fleet_bench
    from hoist.bench.fleet_targets import fleet_targets
    from hoist.config import parse_size
    from hoist.errors import UsageError

    check_repeat(args)
    for name in ("instances", "nodes", "each"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} is 1 or more, not {getattr(args, name)}")
    folder = Path(args.folder) if args.folder else None
    size = parse_size(args.size)
    options = Options(size, args.instances, args.nodes, args.each, args.repeat, not args.no_ray, folder)

    def line(record: dict[str, Any]) -> str:
        where = record.get("state") or f"through the {record['through']}"
        return f"{record['step']}, {record['instances']} instances, {where}: {show_seconds(record['seconds'])}"

    records = run_fleet_bench(options, teller(args, line))
    return finish(args, records, fleet_targets)


def run_nfs(args: Namespace) -> int:
    """Measure, and show the target."""
    from pathlib import Path

    from hoist.bench.nfs import Options
    from hoist.bench.nfs import run_nfs as run
    from hoist.bench.nfs_targets import nfs_targets
    from hoist.config import parse_size

    check_repeat(args)
    options = Options(parse_size(args.size), args.repeat, Path(args.folder) if args.folder else None)
    records = run(options, teller(args, lambda r: f"{r['what']}: {r['bytes_per_second'] / 1e6:,.0f} MB/s"))
    return finish(args, records, nfs_targets)


def teller(args: Namespace, line: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], None]:
    """Takes each record as it comes: to the file of --record, and to standard error in words."""
    from pathlib import Path

    from hoist.bench.records import append_records

    def tell(record: dict[str, Any]) -> None:
        if args.record:
            append_records(Path(args.record), [record])
        if not args.quiet:
            print(printable(line(record)), file=sys.stderr, flush=True)

    return tell


def finish(args: Namespace, records: list[dict[str, Any]], targets: Callable[..., Any]) -> int:
    """Show the records as JSON, or the targets; the exit code."""
    from hoist.bench.targets import HEADINGS

    if args.json:
        print_json(records)
    else:
        print_table(HEADINGS, [target.row for target in targets(records)])
    return 0
