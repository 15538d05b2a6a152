"""`hoist simulate`: a fleet over time on each storage, and the simulator beside measured herds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoist.cli.advise import add_fields
from hoist.cli.facts import add_facts
from hoist.cli.parser import Root, add_json, completes
from hoist.cli.text import print_json

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Parser

GROUP = "advise"


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "simulate",
        run_simulate,
        "Simulate a fleet over time on each storage: start times, origin bytes, GPU seconds",
        about=(
            "SCENARIO is a TOML file as hoist advise takes it; options say the same, and what the fleet does over time. "
            "Instances are asked for at once (--instances), over a time (--over), by a schedule (--at) or as a trace says. "
            "Bandwidths, set-up times and limits are those of facts (hoist facts) unless they are given. The same seed "
            "gives the same fleet. --validate compares the simulator with the records of hoist bench herd."
        ),
        examples=(
            "hoist simulate --size 4GiB --instances 200",
            "hoist simulate scenario.toml --instances 10000 --over 1h --storage nas --storage accl --plot fleet.svg",
            "hoist simulate --size 4GiB --at 0s=50 --at 10min=200/5min --retries 2 --json",
            "hoist simulate --validate benchmarks/records/*-herd.jsonl",
        ),
    )
    add = parser.add_argument
    completes(add("scenario", metavar="SCENARIO", nargs="?", help="a TOML file; options go before it"), "file")
    add("--storage", action="append", default=[], metavar="KIND", help="image, nas, oss or accl (default: all)")
    add_fields(parser)
    add_facts(parser)
    text = "one fact, as gpu.cu-price=0.00003USD/CU; may be repeated"
    add("--fact", action="append", default=[], metavar="ID=VALUE", help=text)
    _add_arrivals(parser)
    _add_fleet(parser)
    add("--seed", type=int, default=0, metavar="N", help="of all that is drawn (default: 0)")
    add("--series", type=int, default=0, metavar="STEPS", help="with --json: the fleet over time, in so many steps")
    completes(add("--plot", metavar="FILE", help="draw it: .svg, .png or .pdf"), "file")
    completes(add("--validate", nargs="+", metavar="RECORDS", help="compare with measured herds instead"), "file")
    completes(add("--markdown", metavar="FILE", help="with --validate: write the table to this file too"), "file")
    add("--timing", action="store_true", help="time the simulator itself instead, with up to 200,000 instances")
    completes(add("--record", metavar="FILE", help="with --timing: append the records to this file"), "file")
    add_json(parser)


def _add_arrivals(parser: Parser) -> None:
    add = parser.add_argument
    text = "the instances are asked for at random moments of this time (Poisson), in place of all at once"
    add("--over", metavar="TIME", help=text)
    add("--even", action="store_true", help="with --over: evenly in place of at random")
    add(
        "--at",
        action="append",
        default=[],
        metavar="TIME=N[/TIME]",
        help="a step: N at that time, or from it over TIME",
    )
    completes(add("--trace", metavar="FILE", help="a line of SECONDS, or SECONDS,MODEL, for each instance"), "file")
    add(
        "--model",
        action="append",
        default=[],
        metavar="NAME=SIZE[,WEIGHT]",
        help="one of several models, and how often it is asked for (may be repeated)",
    )


def _add_fleet(parser: Parser) -> None:
    add = parser.add_argument
    add("--scale-out", metavar="BURST,RATE", help="so many at once, then a rate, as 100,5/s; or off (default: facts)")
    add("--most", type=int, metavar="N", help="so many instances at a time; needs --lifetime")
    add("--lifetime", metavar="TIME", help="how long an instance lives once it has loaded")
    add("--hosts", type=int, metavar="N", help="starts go in turn to so many hosts, which stay (default: new hosts)")
    add("--host-link", metavar="RATE", help="the link of a host, for all its instances")
    add("--host-cache", choices=("on", "off"), help="Hoist's (default: on with the loader hoist)")
    add("--host-cache-size", metavar="SIZE", help="what it keeps (default: all)")
    add("--accelerator-size", metavar="SIZE", help="what the accelerator keeps (default: what is provisioned)")
    add(
        "--storage-rate", action="append", default=[], metavar="KIND=RATE", help="a storage's bandwidth, as nas=600MB/s"
    )
    add("--origin-rate", metavar="RATE", help="the bandwidth behind the accelerator (default: that of oss)")
    add("--start-jitter", metavar="TIME", help="each waits up to so long, at random (default: 0s)")
    add("--retries", type=int, metavar="N", help="end who is over the deadline, and start it again so often")
    add("--retry-wait", default="1s", metavar="TIME", help="before the first of them; doubled each time (default: 1s)")


def run_simulate(args: Namespace) -> int:
    """Simulate, and show; or validate, or time."""
    if args.validate:
        return _validate(args)
    if args.timing:
        return _time(args)
    from pathlib import Path

    from hoist.advise.fleets import fleets, outcome_json
    from hoist.advise.simulate import simulate
    from hoist.advise.storages import KINDS
    from hoist.cli.simulate_options import case_of, fleet_options
    from hoist.cli.simulate_text import print_fleets

    if args.plot:
        from hoist.advise.fleet_plot import check_plot

        check_plot(Path(args.plot))
    case = case_of(args)
    scenario = case.scenario
    given = fleets(tuple(dict.fromkeys(args.storage)) or KINDS, scenario, case.facts, fleet_options(args, case))
    outcomes = [simulate(each) for each in given]
    if args.plot:
        from hoist.advise.fleet_plot import plot_fleets

        plot_fleets(outcomes, scenario.deadline, Path(args.plot))
    if args.json:
        found = [
            outcome_json(each, outcome, scenario.deadline, args.series)
            for each, outcome in zip(given, outcomes, strict=True)
        ]
        document = {"instances": outcomes[0].usage.instances, "deadline_seconds": scenario.deadline, "seed": args.seed}
        print_json({**document, "currency": scenario.currency, "storages": found})
    else:
        print_fleets(scenario, outcomes)
    return 0


def _validate(args: Namespace) -> int:
    from pathlib import Path

    from hoist.advise.validate import validate, validation_json, validation_markdown
    from hoist.bench.records import read_records
    from hoist.cli.compare import write_text
    from hoist.cli.simulate_text import print_validation

    found = validate(record for file in args.validate for record in read_records(Path(file)))
    if args.markdown:
        write_text(args.markdown, validation_markdown(found))
    if args.json:
        print_json({"validations": [validation_json(each) for each in found]})
        return 0
    for each in found:
        print_validation(each)
    return 0


def _time(args: Namespace) -> int:
    from pathlib import Path

    from hoist.advise.timing import run_timing
    from hoist.bench.records import append_records
    from hoist.cli.simulate_text import print_timing

    def keep(record: dict[str, Any]) -> None:
        if args.record:
            append_records(Path(args.record), [record])

    found = run_timing(on_record=keep)
    if args.json:
        print_json({"records": found})
    else:
        print_timing(found)
    return 0
