"""`bench sync`: a sync of what is in step already, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.compare import check_repeat
from hoist.cli.compare_fleet import add_common, finish, teller
from hoist.cli.parser import add_command
from hoist.cli.text import show_seconds

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands


def add_sync(commands: Commands) -> None:
    """Add `bench sync`."""
    parser = add_command(
        commands,
        "sync",
        run_sync,
        "Measure a sync of many models that are in step already, on a radosgw of its own",
        about="Two buckets with the same versions; then one version more. Everything lies in memory, and goes with it.",
        examples=("hoist bench sync --record figures.jsonl", "hoist bench sync --models 100 --repeat 1"),
    )
    add = parser.add_argument
    add("--models", type=int, default=1000, metavar="N", help="how many models (default: 1000)")
    add("--versions", type=int, default=5, metavar="N", help="of each model (default: 5)")
    add_common(parser, repeat=3)


def run_sync(args: Namespace) -> int:
    """Measure, and show the targets."""
    from pathlib import Path

    from hoist.bench.sync import Options, run_syncs
    from hoist.bench.sync_targets import sync_targets
    from hoist.errors import UsageError

    check_repeat(args)
    if args.models < 1 or args.versions < 1:
        raise UsageError("--models and --versions are 1 and more")
    options = Options(args.models, args.versions, args.repeat, Path(args.folder) if args.folder else None)
    tell = teller(args, lambda r: f"{r['work']}: {show_seconds(r['seconds'])}" + _counted(r))
    return finish(args, run_syncs(options, tell), sync_targets)


def _counted(record: dict[str, object]) -> str:
    return f", {record['requests']} requests" if "requests" in record else ""
