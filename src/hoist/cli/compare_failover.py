"""`bench failover`: a region that is lost in the middle of a load, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoist.cli.compare import check_repeat
from hoist.cli.compare_fleet import add_common, finish, teller
from hoist.cli.parser import add_command
from hoist.cli.text import show_seconds

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands


def add_failover(commands: Commands) -> None:
    """Add `bench failover`."""
    parser = add_command(
        commands,
        "failover",
        run_failover,
        "Measure a load whose region is lost in the middle, on two rclone servers of its own",
        about="One is killed, or frozen, when half of the bytes are there; the other gives the rest. Beside that, loads\n"
        "while all is well, by kind any and of the first region alone. Everything lies in a temporary folder.",
        examples=("hoist bench failover --record figures.jsonl", "hoist bench failover --size 256MiB --repeat 1"),
    )
    parser.add_argument("--size", default="2GiB", metavar="SIZE", help="of the model (default: 2GiB)")
    add_common(parser, repeat=3)


def run_failover(args: Namespace) -> int:
    """Measure, and show the targets."""
    from pathlib import Path

    from hoist.bench.failover import Options, run_failovers
    from hoist.bench.failover_targets import failover_targets
    from hoist.config import parse_size

    check_repeat(args)
    options = Options(parse_size(args.size), args.repeat, Path(args.folder) if args.folder else None)
    return finish(args, run_failovers(options, teller(args, _told)), failover_targets)


def _told(record: dict[str, Any]) -> str:
    rest = f", the rest after the loss {show_seconds(record['rest_seconds'])}" if record["lost"] else ""
    return f"{record['way']}, {record['lost'] or 'all well'}: {show_seconds(record['seconds'])}{rest}"
