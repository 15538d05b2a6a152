"""`hoist fleet` and `hoist warm`: many instances at once, and a version brought to the hosts before them."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_bandwidth, add_json, add_location, add_quiet, completes
from hoist.cli.text import print_json, print_table, printable, show_count, show_seconds, show_size, warn

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.cli.parser import Parser
    from hoist.fleet.instance import Instance
    from hoist.fleet.warm import Warmed

GROUP = "fleet"
_RAY = "on a Ray cluster: its address (ray://host:10001, host:6379), or auto for the one this machine is in"
_EVERY_SECONDS = 1.0


def add_to(root: Root) -> None:
    """Add the verbs."""
    parser = root.add_verb(
        GROUP,
        "fleet",
        run_fleet,
        "Start many instances that load a version, and show how long each took",
        about=(
            "Each instance is a process that calls the function with a Model (hoist.fleet.model), or only loads the "
            "version. Instances of one host share its host cache. All end with this command; --hold keeps them until "
            "Ctrl-C. Exits with 1 if one failed or was over its deadline."
        ),
        examples=(
            "hoist fleet oss//sd15/anything:v5 --instances 8",
            "hoist fleet oss//sd15/anything:v5 --instances 12 --ray auto --function handler:prepare",
        ),
    )
    add_location(parser)
    add = parser.add_argument
    add("files", metavar="FILE", nargs="*", help="which weight files of it (default: all)")
    add("-n", "--instances", type=int, default=1, metavar="N", help="how many (default: 1)")
    add("--function", metavar="MODULE:FUNCTION", help="called with the model, in place of a plain load")
    add("--deadline", type=float, metavar="SECONDS", help="end an instance that is not loaded by then (default: 120)")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    add("--ray", metavar="ADDRESS", help=_RAY)
    add("--spawn", action="store_true", help="a new interpreter for each instance: imports count for each")
    add("--hold", action="store_true", help="keep the instances until Ctrl-C")
    completes(
        add("--trace", metavar="FILE", help="append a trace of each instance to this file, for hoist trace"), "file"
    )
    add_quiet(parser)
    add_json(parser)
    _add_warm(root)


def _add_warm(root: Root) -> None:
    parser: Parser = root.add_verb(
        GROUP,
        "warm",
        run_warm,
        "Bring a version into host caches before it is needed",
        about=(
            "On this host, or with --ray on the nodes of a cluster; hosts outside a cluster run it each for itself. "
            "Running it again brings only what is missing. Nothing is pinned: hoist cache pin does that."
        ),
        examples=("hoist warm oss//sd15/anything:v5", "hoist warm oss//sd15/anything:v5 --ray auto --nodes 10.0.0.7"),
        resumable=True,
    )
    add_location(parser)
    parser.add_argument("--ray", metavar="ADDRESS", help=_RAY)
    parser.add_argument("--nodes", nargs="+", metavar="NODE", help="only these, by address or id (default: all)")
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def run_fleet(args: Namespace) -> int:
    """Start, wait, show."""
    from hoist.fleet.instance import DEADLINE_SECONDS, LOADED
    from hoist.verbs import start_fleet

    began = time.time()
    teller = _Teller(quiet=args.quiet, count=args.instances)
    with start_fleet(
        args.location,
        args.instances,
        function=args.function,
        files=args.files,
        device=args.device,
        deadline_seconds=args.deadline if args.deadline is not None else DEADLINE_SECONDS,
        ray=args.ray,
        spawn=args.spawn,
    ) as running:
        found = running.wait(teller.told)
        teller.end()
        if args.trace:
            _write_traces(args, began, found)
        if args.json:
            print_json(_document(args.location, found))
        else:
            _print(args.location, found)
        if args.hold:
            sys.stdout.flush()
            while any(each.state == LOADED for each in running.wait(teller.failed)):
                time.sleep(_EVERY_SECONDS)
    return 0 if all(each.state == LOADED for each in found) else 1


def run_warm(args: Namespace) -> int:
    """Warm, and show what each node fetched."""
    from hoist.cli.progress import make_reporter
    from hoist.verbs import warm

    with make_reporter(args.quiet) as progress:
        found = warm(args.location, ray=args.ray, nodes=args.nodes, progress=progress)
    failed = [each for each in found if each.error]
    if args.json:
        print_json({"location": args.location, "nodes": [_warmed(each) for each in found]})
    else:
        rows = [
            (
                each.node,
                show_size(each.size),
                show_size(each.fetched_bytes),
                show_seconds(each.seconds),
                each.error or "",
            )
            for each in found
        ]
        print_table(("NODE", ">SIZE", ">FETCHED", ">TIME", ""), rows)
    return 1 if failed else 0


def _write_traces(args: Namespace, began: float, found: Sequence[Instance]) -> None:
    from pathlib import Path

    from hoist.function.trace_file import append_traces
    from hoist.function.traced import trace_of_instance

    append_traces(Path(args.trace), [trace_of_instance(args.location, args.device, began, each) for each in found])


class _Teller:
    """Progress of a fleet on standard error: a line now and then, and one for each instance that fails."""

    def __init__(self, *, quiet: bool, count: int) -> None:
        self._quiet = quiet
        self._count = count
        self._known: dict[int, Instance] = {}
        self._told = time.monotonic()

    def failed(self, instance: Instance) -> None:
        """Note it, and say so if something is new that went wrong with it."""
        before = self._known.get(instance.number)
        self._known[instance.number] = instance
        if instance.error and (before is None or before.error != instance.error):
            warn(f"instance {instance.number} on {instance.node}: {instance.error}")

    def told(self, instance: Instance) -> None:
        """Note it; now and then, say how far all are."""
        self.failed(instance)
        now = time.monotonic()
        if not self._quiet and now - self._told >= _EVERY_SECONDS:
            self._told = now
            self._say()

    def end(self) -> None:
        """The last word."""
        if not self._quiet:
            self._say()

    def _say(self) -> None:
        states: dict[str, int] = {}
        for each in self._known.values():
            states[each.state] = states.get(each.state, 0) + 1
        moved = sum(max(each.moved_bytes, each.size) for each in self._known.values())
        counted = ", ".join(f"{number} {state}" for state, number in states.items())
        print(f"{show_count(self._count, 'instance')}: {counted}, {show_size(moved)}", file=sys.stderr, flush=True)


def _document(location: str, found: Sequence[Instance]) -> dict[str, object]:
    from hoist.fleet.instance import spread

    times = spread(found)
    return {
        "location": location,
        "instances": [_instance(each) for each in found],
        "loaded": sum(each.state == "loaded" for each in found),
        "p50_seconds": times.p50,
        "p95_seconds": times.p95,
        "max_seconds": times.most,
        "fetched_bytes": sum(each.fetched_bytes for each in found),
    }


def _instance(each: Instance) -> dict[str, object]:
    return {
        "number": each.number,
        "node": each.node,
        "pid": each.pid,
        "attempt": each.attempt,
        "state": each.state,
        "seconds": each.seconds,
        "phases": dict(each.phases),
        "size_bytes": each.size,
        "fetched_bytes": each.fetched_bytes,
        "cached_bytes": each.cached_bytes,
        "error": each.error,
    }


def _warmed(each: Warmed) -> dict[str, object]:
    return {
        "node": each.node,
        "files": each.files,
        "size_bytes": each.size,
        "fetched_bytes": each.fetched_bytes,
        "seconds": each.seconds,
        "error": each.error,
    }


def _print(location: str, found: Sequence[Instance]) -> None:
    from hoist.fleet.instance import PHASES, spread

    rows = [
        (
            str(each.number),
            each.node,
            each.state,
            show_seconds(each.seconds) if each.seconds is not None else "",
            show_size(each.fetched_bytes),
            show_size(each.cached_bytes),
            _longest(each, PHASES),
        )
        for each in found
    ]
    print_table((">NR", "NODE", "STATE", ">LOADED", ">FETCHED", ">FROM CACHE", "LONGEST PHASE"), rows)
    times = spread(found)
    if times.p50 is None or times.p95 is None or times.most is None:
        return
    shown = " / ".join(map(show_seconds, (times.p50, times.p95, times.most)))
    loaded = sum(each.state == "loaded" for each in found)
    print(printable(f"\n{loaded} of {show_count(len(found), 'instance')} loaded {location}: {shown} (p50 / p95 / max)"))


def _longest(each: Instance, phases: Sequence[str]) -> str:
    if not each.phases:
        return ""
    name = max(phases, key=lambda phase: each.phases.get(phase, 0.0))
    return f"{name} {show_seconds(each.phases.get(name, 0.0))}"
