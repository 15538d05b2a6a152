"""The command that measures a served function: `bench function`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoist.cli.compare import check_repeat
from hoist.cli.compare_fleet import add_common, finish, teller
from hoist.cli.parser import add_command
from hoist.cli.text import show_seconds, show_size

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands


def add_function(commands: Commands) -> None:
    """Add `bench function`."""
    parser = add_command(
        commands,
        "function",
        run_function,
        "Measure hoist serve: switching back, sharing, its own cost, its health while it loads, a crowd of clients",
        about="The works: back, sharing, overhead, health, crowd. Models are Stable Diffusion checkpoints with random\n"
        "weights, 8 GiB together at scale 1. Everything lies in a temporary folder, which goes with it.",
        examples=(
            "hoist bench function --record figures.jsonl",
            "hoist bench function --scale 0.25 --work back --work crowd --repeat 1",
        ),
    )
    add = parser.add_argument
    add("--work", action="append", default=[], metavar="WORK", help="only this work (may be repeated)")
    add("--scale", type=float, default=1.0, metavar="S", help="width of the layers, above 0 to 1 (default: 1)")
    add(
        "--checks", type=int, default=1000, metavar="N", help="health checks while loads run, a storage (default: 1000)"
    )
    add("--clients", type=int, default=200, metavar="N", help="of the crowd (default: 200)")
    add("--requests", type=int, default=3, metavar="N", help="of each client (default: 3)")
    add("--crowd-size", default="64MiB", metavar="SIZE", help="of each of the crowd's models (default: 64MiB)")
    add_common(parser, repeat=3)


def run_function(args: Namespace) -> int:
    """Measure, and show the targets."""
    from pathlib import Path

    from hoist.bench.function import WORKS, Options, run_function_bench
    from hoist.bench.function_targets import function_targets
    from hoist.config import parse_size
    from hoist.errors import UsageError

    check_repeat(args)
    for name in ("checks", "clients", "requests"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} is 1 or more, not {getattr(args, name)}")
    options = Options(
        scale=args.scale,
        samples=args.checks,
        clients=args.clients,
        requests=args.requests,
        crowd_bytes=parse_size(args.crowd_size),
        repeat=args.repeat,
        works=tuple(args.work) or tuple(WORKS),
        folder=Path(args.folder) if args.folder else None,
    )
    records = run_function_bench(options, teller(args, _line))
    return finish(args, records, function_targets)


def _line(record: dict[str, Any]) -> str:
    steps = [record[key] for key in ("work", "step", "storage") if key in record]
    return f"{', '.join(steps)}, {show_size(record['size'])}: {show_seconds(record['seconds'])}"
