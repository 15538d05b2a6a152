"""`bench copy`: copies between storages beside rclone, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.compare import check_repeat
from hoist.cli.compare_fleet import add_common, finish, teller
from hoist.cli.parser import add_command
from hoist.cli.text import show_seconds

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands


def add_copy(commands: Commands) -> None:
    """Add `bench copy`."""
    parser = add_command(
        commands,
        "copy",
        run_copy,
        "Measure copies between storages beside rclone, on a radosgw of its own",
        about="Bucket to bucket, a version with one changed file, and one source to three targets. Everything lies in\n"
        "memory and in a temporary folder, and goes with it.",
        examples=("hoist bench copy --record figures.jsonl", "hoist bench copy --size 256MiB --repeat 1"),
    )
    parser.add_argument("--size", default="2GiB", metavar="SIZE", help="of the model (default: 2GiB)")
    parser.add_argument("--no-rclone", action="store_true", help="do not measure rclone")
    add_common(parser, repeat=3)


def run_copy(args: Namespace) -> int:
    """Measure, and show the targets."""
    from pathlib import Path

    from hoist.bench.copy import Options, run_copies
    from hoist.bench.copy_targets import copy_targets
    from hoist.config import parse_size

    check_repeat(args)
    folder = Path(args.folder) if args.folder else None
    options = Options(parse_size(args.size), args.repeat, not args.no_rclone, folder)
    tell = teller(args, lambda r: f"{r['work']}, {r['way']}: {show_seconds(r['seconds'])}")
    return finish(args, run_copies(options, tell), copy_targets)
