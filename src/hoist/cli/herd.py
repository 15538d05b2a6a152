"""`bench herd`: many instances that load at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.compare import add_common, check_repeat, finish, say_to, teller
from hoist.cli.parser import add_command, completes

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.bench.herd import Options
    from hoist.cli.parser import Commands


def add_herd(commands: Commands) -> None:
    """Add `bench herd`."""
    parser = add_command(
        commands,
        "herd",
        run_herd,
        "Start many instances at once that load one model, from each storage, under a model of the bandwidths",
        about="As root each server and each instance is a network namespace behind a shaped link; else the instances share\n"
        "the storage's bandwidth by a wrapper, and the record says so. Bandwidths are scaled down by --scale, times\n"
        "and deadlines by --shorten as well. Everything lies in a temporary folder, which goes with it.",
        examples=(
            "sudo hoist bench herd --storage nas --storage accl --plot herd.svg --record figures.jsonl",
            "hoist bench herd --instances 1,2,4 --storage-rate 600MB/s --storage-rate accl=2400MB/s --shorten 0.1",
        ),
    )
    add = parser.add_argument
    add("--storage", action="append", default=[], metavar="NAME", help="nas, oss, accl or image (default: all)")
    add("--instances", default="1,2,4,8,16", metavar="N,N", help="how many start at once (default: 1,2,4,8,16)")
    add(
        "--storage-rate",
        action="append",
        default=[],
        metavar="RATE",
        help="a storage's bandwidth: 600MB/s, or NAME=RATE for one storage (default: 600MB/s, accl 2400MB/s)",
    )
    add("--instance-rate", default="5Gbit/s", metavar="RATE", help="an instance's link (default: 5Gbit/s)")
    add("--size", default="2GiB", metavar="SIZE", help="the model that is stood for (default: 2GiB)")
    add("--scale", type=float, default=0.25, metavar="F", help="of the bandwidths and bytes (default: 0.25)")
    add("--shorten", type=float, default=0.5, metavar="F", help="of bytes, times and deadlines besides (default: 0.5)")
    add(
        "--deadline",
        action="append",
        default=[],
        metavar="SECONDS",
        help="count who is later, may be repeated (default: 120, the port check, and 300, the initializer)",
    )
    add("--start-jitter", type=float, metavar="SECONDS", help="as of a fleet's instances (default: a fleet's, 0.1)")
    add("--throttle", action="store_true", help="use the wrapper also where links can be shaped")
    completes(add("--plot", metavar="FILE", help="draw the curves: .svg, .png or .pdf"), "file")
    completes(add("--folder", metavar="FOLDER", help="where everything goes"), "folder")
    add_common(parser, repeat=1)


def run_herd(args: Namespace) -> int:
    """Measure herds on storages of the benchmark's own."""
    from pathlib import Path

    from hoist.bench.herd import run_herd_bench
    from hoist.bench.herd_figures import herds
    from hoist.bench.herd_plot import check_plot, plot_herd

    check_repeat(args)
    options = _options(args)
    options.check()
    if args.plot:
        check_plot(Path(args.plot))
    records = run_herd_bench(options, teller(args), say_to(args))
    found = herds(records)
    if args.plot and found:
        plot_herd(found[0], Path(args.plot))
    finish(args, records)
    return 0


def _options(args: Namespace) -> Options:
    from pathlib import Path

    from hoist.bench.herd import DEADLINES, Options
    from hoist.bench.herd_model import parse_rate
    from hoist.bench.herd_stage import OPENERS, THROTTLED
    from hoist.config import parse_size
    from hoist.fleet.local import JITTER_SECONDS

    rates: dict[str, float] = {}
    for text in args.storage_rate:
        name, equals, rate = text.rpartition("=")
        # One without a name is of all but a read cache, which is there to be faster than what it stands before.
        for storage in [name] if equals else [known for known in OPENERS if known != "accl"]:
            rates[storage] = parse_rate(rate)
    return Options(
        storages=tuple(dict.fromkeys(args.storage)) or tuple(OPENERS),
        instances=_counts(args.instances),
        size=parse_size(args.size),
        scale=args.scale,
        shorten=args.shorten,
        storage_rates=rates,
        instance_rate=parse_rate(args.instance_rate),
        start_jitter=JITTER_SECONDS if args.start_jitter is None else args.start_jitter,
        deadlines=_deadlines(args.deadline) or DEADLINES,
        repeat=args.repeat,
        how=THROTTLED if args.throttle else None,
        folder=Path(args.folder) if args.folder else None,
    )


def _counts(text: str) -> tuple[int, ...]:
    from hoist.errors import UsageError

    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise UsageError(f"--instances are numbers with commas between them, as in 1,2,4, not {text!r}") from None


def _deadlines(words: list[str]) -> dict[str, float]:
    from hoist.errors import UsageError

    try:
        return {f"{float(word):g} s": float(word) for word in words}
    except ValueError:
        raise UsageError(f"--deadline is a number of seconds, not {', '.join(words)}") from None
