"""The verb that says where a model should live: advise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.facts import add_facts
from hoist.cli.parser import Root, add_json, completes

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from hoist.cli.parser import Parser

GROUP = "advise"
# A scenario's fields, each an option: its value, and what it is.
_OPTIONS = (
    ("size", "SIZE", "bytes that one start loads, as 4GiB; instead of a location"),
    ("files", "N", "in so many files (default: 1)"),
    ("models", "N", "how many of that size are kept (default: 1)"),
    ("shared", "PART", "part of a version that the next one shares, as 60%% (default: by the location, else 0)"),
    ("instances", "N", "instances that start at once in each region (default: 1)"),
    ("starts", "N/TIME", "how often an instance starts, as 200/day (default: by the mode)"),
    ("bursts", "N/TIME", "how often all start by a schedule (default: 1/day)"),
    ("updates", "N/TIME", "new versions, as 3/week (default: 1/week)"),
    ("regions", "NAME,NAME", "where it runs (default: cn-hangzhou)"),
    ("deadline", "TIME", "of a start, as 300s (default: the platform's port check, 120s)"),
    ("budget", "MONEY", "a month, as 50USD or 350CNY"),
    ("link", "RATE", "of one instance, as 5Gbit/s (default: the platform's)"),
    ("instances-per-host", "N", "that share what one of them has read (default: 1)"),
    ("gpu", "NAME", "ada (default) or tesla"),
    ("gpu-memory", "SIZE", "of one instance (default: a whole card)"),
    ("vcpus", "N", "of one instance (default: 8)"),
    ("memory", "SIZE", "of one instance (default: 32GB)"),
    ("loader", "NAME", "hoist (default), or plain: mounts, and a program that hashes the file before it loads it"),
    ("warmup", "TIME", "that the program takes after loading (default: 0s)"),
    ("base-image", "SIZE", "of the image without the model (default: 0B)"),
    ("platform", "NAME", "function-compute (default) or generic"),
    ("nas", "NAME", "performance (default), capacity or extreme"),
    ("currency", "NAME", "USD (default) or CNY"),
)


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "advise",
        run_advise,
        "Say which storage a model should live in, why, and what it costs",
        about="Computed from facts (hoist facts) until there are your own measurements, then from those;\n"
        "--explain shows the arithmetic. Without a location nothing is read but the files that are named.",
        examples=(
            "hoist advise nas//sd15/anything:v5 --instances 8",
            "hoist advise --size 3.97GiB --models 10 --mode provisioned --instances 100 --regions cn-chengdu",
            "hoist advise --s-yaml s.yaml --size 4GiB --explain",
        ),
    )
    parser.add_argument("location", metavar="LOCATION", nargs="?", help="the model, as STORAGE//NAME:VERSION")
    text = "on-demand (default), idle or provisioned"
    parser.add_argument("--mode", action="append", default=[], metavar="NAME", help=text)
    add_fields(parser)
    completes(parser.add_argument("--scenario", metavar="FILE", help="the same fields in TOML; options win"), "file")
    text = "take GPU, instance and scaling from an s.yaml of Function Compute 3.0"
    completes(parser.add_argument("--s-yaml", metavar="FILE", help=text), "file")
    parser.add_argument("--resource", metavar="NAME", help="which function of it, if it has several")
    add_facts(parser)
    text = "one fact, as gpu.cu-price=0.00003USD/CU; may be repeated"
    parser.add_argument("--fact", action="append", default=[], metavar="ID=VALUE", help=text)
    parser.add_argument("--explain", action="store_true", help="show each formula with its inputs and their sources")
    add_json(parser)


def add_fields(parser: Parser) -> None:
    """An option for each field of a scenario but the mode."""
    for name, value, text in _OPTIONS:
        parser.add_argument(f"--{name}", metavar=value, help=text)


def run_advise(args: Namespace) -> int:
    """Advise, and show it."""
    from hoist.advise.verb import advice
    from hoist.cli.text import print_json

    found = advice(
        args.location,
        scenario=args.scenario,
        s_yaml=args.s_yaml,
        resource=args.resource,
        facts=args.facts,
        given=given_facts(args.fact),
        mode=_mode(args),
        **case_fields(args),
    )
    if args.json:
        from hoist.advise.document import advice_document

        print_json(advice_document(found))
    else:
        from hoist.cli.advise_text import print_advice

        print_advice(found, explained=args.explain)
    return 0


def _mode(args: Namespace) -> str | None:
    from hoist.errors import UsageError

    if len(set(args.mode)) > 1:
        raise UsageError(f"--mode is given as {' and as '.join(args.mode)}: give one; compare two by running it twice")
    return args.mode[0] if args.mode else None


def case_fields(args: Namespace) -> dict[str, Any]:
    """What the options of `add_fields` say; None for those that were not given."""
    names = [name.replace("-", "_") for name, _, _ in _OPTIONS]
    return {name: getattr(args, name) for name in names}


def given_facts(words: list[str]) -> dict[str, str]:
    """Those of --fact ID=VALUE. Raises UsageError."""
    from hoist.errors import UsageError

    found = {}
    for word in words:
        id, equals, value = word.partition("=")
        if not equals or not id:
            raise UsageError(f"--fact {word}: write ID=VALUE with its unit, as function-compute.link=1Gbit/s")
        found[id] = value
    return found
