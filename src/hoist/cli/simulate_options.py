"""What the options of `hoist simulate` say: the case, and the fleet over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoist.cli.advise import case_fields, given_facts

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.advise.fleets import FleetOptions
    from hoist.advise.scenario import Scenario
    from hoist.advise.simulate import Arrivals, Model, ScaleOut
    from hoist.advise.verb import Case


def case_of(args: Namespace) -> Case:
    """The case that is simulated. Raises UsageError, InvalidConfig, NotFound."""
    from pathlib import Path

    from hoist.advise.scenario import read_scenario
    from hoist.advise.verb import read_case
    from hoist.config import load_config

    fields = case_fields(args)
    models = _models(args)
    if models and fields["size"] is None:
        # Set-up and rest are those of the largest one.
        fields["size"] = f"{int(max(model.size for model in models))}B"
    table = read_scenario(Path(args.scenario)) if args.scenario else {}
    if fields["instances"] is None and "instances" not in table:
        # A fleet over time has no number that is there at once, which would bound how many share a host.
        fields["instances"] = fields["instances_per_host"] or table.get("instances_per_host")
    return read_case(
        None,
        scenario=args.scenario,
        fields=fields,
        config=load_config(),
        facts=args.facts,
        given=given_facts(args.fact),
    )


def _models(args: Namespace) -> tuple[Model, ...]:
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


def fleet_options(args: Namespace, case: Case) -> FleetOptions:
    """What the fleet does over time. Raises UsageError, and for a trace InvalidFile and what reading it may."""
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
