"""`hoist simulate`: a fleet over time on each storage, and the simulator beside measured herds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoist.cli.advise import add_fields, case_fields, given_facts
from hoist.cli.facts import add_facts
from hoist.cli.parser import Root, add_json, completes
from hoist.cli.text import print_json, print_table, printable, show_count, show_seconds, show_size

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.advise.fleets import FleetOptions
    from hoist.advise.scenario import Scenario
    from hoist.advise.simulate import Arrivals, Outcome, ScaleOut
    from hoist.advise.validate import Validation
    from hoist.advise.verb import Case
    from hoist.cli.parser import Parser

GROUP = "advise"
_SERIES_STEPS = 60


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

    if args.plot:
        from hoist.advise.fleet_plot import check_plot

        check_plot(Path(args.plot))
    case = _case(args)
    scenario = case.scenario
    given = fleets(tuple(dict.fromkeys(args.storage)) or KINDS, scenario, case.facts, _options(args, case))
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
        _show(scenario, outcomes)
    return 0


def _case(args: Namespace) -> Case:
    from hoist.advise.verb import read_case
    from hoist.config import load_config

    fields = case_fields(args)
    models = _models(args)
    if models and fields["size"] is None:
        # Set-up and rest are those of the largest one.
        fields["size"] = f"{int(max(model.size for model in models))}B"
    if not args.scenario and fields["instances"] is None:
        # Of a fleet over time there is no number that is there at once.
        fields["instances"] = fields["instances_per_host"]
    return read_case(
        None,
        scenario=args.scenario,
        fields=fields,
        config=load_config(),
        facts=args.facts,
        given=given_facts(args.fact),
    )


def _models(args: Namespace) -> tuple[Any, ...]:
    from hoist.advise.simulate import Model
    from hoist.advise.units import parse
    from hoist.errors import UsageError

    found = []
    for word in args.model:
        name, equals, rest = word.partition("=")
        size, comma, weight = rest.partition(",")
        if not equals or not name:
            raise UsageError(f"--model {word}: write NAME=SIZE or NAME=SIZE,WEIGHT")
        try:
            found.append(Model(parse(size, "size", f"--model {name}"), float(weight) if comma else 1.0, name))
        except ValueError:
            raise UsageError(f"--model {word}: its weight is a number") from None
    return tuple(found)


def _options(args: Namespace, case: Case) -> FleetOptions:
    from math import inf

    from hoist.advise.fleets import FleetOptions

    return FleetOptions(
        arrivals=_arrivals(args, case.scenario),
        models=_models(args),
        scale_out=_scale_out(args, case),
        rates=dict(_rate(word) for word in args.storage_rate),
        origin_rate=_quantity(args.origin_rate, "rate", "--origin-rate", None),
        accelerator_size=_quantity(args.accelerator_size, "size", "--accelerator-size", None),
        host_cache=None if args.host_cache is None else args.host_cache == "on",
        host_cache_size=_quantity(args.host_cache_size, "size", "--host-cache-size", inf),
        host_link=_quantity(args.host_link, "rate", "--host-link", inf),
        hosts=args.hosts,
        start_jitter=_quantity(args.start_jitter, "time", "--start-jitter", 0.0),
        retries=args.retries,
        retry_wait=_quantity(args.retry_wait, "time", "--retry-wait", 1.0),
        seed=args.seed,
    )


def _quantity(text: str | None, dimension: Any, option: str, usual: Any) -> Any:
    from hoist.advise.units import parse

    return usual if text is None else parse(text, dimension, option)


def _rate(word: str) -> tuple[str, float]:
    from hoist.errors import UsageError

    kind, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"--storage-rate {word}: write KIND=RATE, as nas=600MB/s")
    rate: float = _quantity(text, "rate", f"--storage-rate {kind}", None)
    if not rate > 0:
        raise UsageError(f"--storage-rate {word}: a bandwidth is above 0")
    return kind, rate


def _arrivals(args: Namespace, scenario: Scenario) -> Arrivals:
    from pathlib import Path

    from hoist.advise.simulate import Burst, Poisson, Schedule
    from hoist.advise.simulate.arrivals import parse_trace
    from hoist.errors import UsageError
    from hoist.read.source import local_error

    ways = [name for name in ("over", "at", "trace") if getattr(args, name)]
    if len(ways) > 1:
        raise UsageError(f"arrivals come by one of --{' and --'.join(ways)}, not by both")
    if args.even and not args.over:
        raise UsageError("--even says how instances come --over a time: give that too")
    count = scenario.instances
    if args.trace:
        path = Path(args.trace)
        try:
            text = path.read_text("utf-8", "replace")
        except OSError as error:
            raise local_error(error, path) from None
        return parse_trace(text, [model.name for model in _models(args)], str(path))
    if args.at:
        return Schedule(tuple(_step(word) for word in args.at))
    if args.over:
        seconds = _quantity(args.over, "time", "--over", None)
        if not seconds > 0:
            raise UsageError(f"--over {args.over}: it is a time above 0")
        return Schedule(((0.0, count, seconds),)) if args.even else Poisson.of(count, seconds)
    return Burst(count)


def _step(word: str) -> tuple[float, int, float]:
    from hoist.errors import UsageError

    at, _, rest = word.partition("=")
    count, slash, over = rest.partition("/")
    if not count.isdigit():
        raise UsageError(f"--at {word}: write TIME=N, as 10min=200, or TIME=N/TIME, as 10min=200/5min")
    begin = _quantity(at, "time", "--at", None)
    return begin, int(count), _quantity(over, "time", "--at", None) if slash else 0.0


def _scale_out(args: Namespace, case: Case) -> ScaleOut | None:
    from math import inf

    from hoist.advise.fleets import scale_out_of
    from hoist.advise.simulate import ScaleOut
    from hoist.errors import UsageError

    found: ScaleOut | None = None
    if args.scale_out == "off":
        found = ScaleOut()
    elif args.scale_out:
        burst, comma, rate = args.scale_out.partition(",")
        if not comma or not burst.isdigit():
            raise UsageError(f"--scale-out {args.scale_out}: write BURST,RATE, as 100,5/s, or off")
        found = ScaleOut(int(burst), _quantity(rate, "frequency", "--scale-out", None))
    if (args.most is None) != (args.lifetime is None):
        raise UsageError("--most and --lifetime go together: a place is free again when its instance has lived")
    if args.most is None:
        return found
    from dataclasses import replace

    base = found or scale_out_of(case.facts, case.scenario)
    return replace(base, most=args.most, lifetime=_quantity(args.lifetime, "time", "--lifetime", inf))


def _show(scenario: Scenario, outcomes: Sequence[Outcome]) -> None:
    rows = []
    for each in outcomes:
        total, usage = each.total, each.usage
        late = each.late(scenario.deadline)
        rows.append(
            [
                each.kind,
                *(_seconds(value) for value in (total.p50, total.p95, total.p99, total.most)),
                f"{late / usage.instances:.1%}" if late else "0",
                show_size(usage.storage_bytes),
                show_size(usage.origin_bytes),
                f"{usage.gpu_seconds / 3600:,.2f}",
                "-" if each.cost is None else f"{each.cost:,.2f}",
            ]
        )
    headings = (
        "STORAGE",
        ">P50",
        ">P95",
        ">P99",
        ">MAX",
        ">LATE",
        ">READ",
        ">ORIGIN",
        ">GPU h",
        f">{scenario.currency}",
    )
    print_table(headings, rows)
    names = [
        name for name in _phase_names(outcomes) if any(each.phases and each.phases[name].most for each in outcomes)
    ]
    print()
    print_table(
        ("MEAN OF", *(f">{name}" for name in names)),
        [[each.kind, *(_seconds(each.phases[name].mean) for name in names)] for each in outcomes if each.phases],
    )
    print(
        f"\n{show_count(outcomes[0].usage.instances, 'instance')}, {show_size(scenario.size)} each; late: not loaded "
        f"{show_seconds(scenario.deadline, whole=True)} after they were asked for; {scenario.currency}: GPU time of that"
    )
    for each in outcomes:
        if each.lost_starts:
            failed = f", {each.failed:,} were given up" if each.failed else ""
            print(f"{each.kind}: {show_count(each.lost_starts, 'start')} ended at the deadline{failed}")


def _phase_names(outcomes: Sequence[Outcome]) -> list[str]:
    return list(dict.fromkeys(name for each in outcomes for name in each.phases))


def _seconds(value: float) -> str:
    return "never" if value == float("inf") else show_seconds(value)


def _validate(args: Namespace) -> int:
    from pathlib import Path

    from hoist.advise.validate import validate, validation_json, validation_markdown
    from hoist.bench.records import read_records
    from hoist.cli.compare import write_text

    found = validate(record for file in args.validate for record in read_records(Path(file)))
    if args.markdown:
        write_text(args.markdown, validation_markdown(found))
    if args.json:
        print_json({"validations": [validation_json(each) for each in found]})
        return 0
    for each in found:
        _show_validation(each)
    return 0


def _show_validation(found: Validation) -> None:
    from hoist.advise.validate import validation_notes, validation_rows

    print(printable(found.title))
    headings, *rows = validation_rows(found)
    print_table((headings[0], *(f">{name}" for name in headings[1:])), rows)
    for line in validation_notes(found):
        print(line)
    print()


def _time(args: Namespace) -> int:
    from hoist.advise.timing import run_timing

    rows = []
    found = run_timing()
    if args.json:
        print_json({"records": found})
        return 0
    for each in found:
        growth = each["seconds"] / each["instances"] * 1e6
        rows.append(
            (
                f"{each['instances']:,}",
                each["work"],
                f"{each['seconds']:.2f} s",
                f"{growth:.1f}",
                f"{each['peak_bytes'] / 2**20:.0f} MiB",
            )
        )
    print_table((">INSTANCES", "WORK", ">SECONDS", ">us EACH", ">PEAK"), rows)
    return 0
