"""The verb that keeps storages in step with one of them: sync."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_bandwidth, add_json, add_quiet
from hoist.cli.text import named_once, print_json, printable, show_count, show_seconds, show_size, tell_error, warn

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.config import Config
    from hoist.sync.plan import SyncPlan
    from hoist.sync.result import SyncResult, TargetResult

GROUP = "keep in step"
_SHOWN = 20
_GRACE_SECONDS = 3.0


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "sync",
        run_sync,
        "Bring storages into step with one of them, by a plan in hoist.toml",
        about=(
            "Versions that a target lacks are copied there, verified, then its tags are moved, and with prune = true what "
            "the plan does not want is removed. A version is never written over, and a target that fails holds nobody "
            "back. It can be stopped and run again at any time, also twice at once."
        ),
        examples=(
            "hoist sync --dry-run",
            "hoist sync production",
            "hoist sync ./production.toml --check",
            "hoist sync production --watch --interval 5m --listen 127.0.0.1:9464",
        ),
        resumable=True,
    )
    add = parser.add_argument
    text = "a plan's name in hoist.toml, or a file that has one (FILE or FILE//NAME); default: the only one"
    add("plan", metavar="PLAN", nargs="?", default="", help=text)
    add("--dry-run", action="store_true", help="only say what differs")
    add("--check", action="store_true", help="the same, and exit with 1 if anything does")
    add("--watch", action="store_true", help="run again and again, until SIGTERM or Ctrl-C")
    add("--interval", metavar="TIME", help="with --watch: wait so long between two runs, as 5m (default: the plan's)")
    text = "with --watch: serve /health, /status and /metrics there"
    add("--listen", metavar="HOST:PORT", help=text)
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def run_sync(args: Namespace) -> int:
    """Run a plan; the exit code is that of what failed, or 1 for several kinds of failures."""
    from hoist.cli.progress import make_reporter
    from hoist.errors import UsageError, common_exit_code
    from hoist.sync.document import sync_document
    from hoist.sync.run import run_plan

    if (args.interval or args.listen) and not args.watch:
        raise UsageError("--interval and --listen go with --watch")
    if args.watch:
        if args.dry_run or args.check:
            raise UsageError("--watch changes the targets: it goes with neither --dry-run nor --check")
        return _watch(args)
    plan, config = _find(args)
    with make_reporter(args.quiet) as progress:
        result = run_plan(plan, config, dry_run=args.dry_run or args.check, progress=progress)
    if args.json:
        print_json(sync_document(result))
    else:
        _print_result(result)
    _print_problems(result)
    return common_exit_code(error.exit_code for error in result.errors) or int(args.check and not result.in_step)


def _find(args: Namespace) -> tuple[SyncPlan, Config]:
    from dataclasses import replace

    from hoist.config import load_config
    from hoist.sync.find import find_plan

    plan, config = find_plan(args.plan, load_config())
    # The command line wins over the plan.
    return (replace(plan, max_bandwidth=None) if args.max_bandwidth is not None else plan), config


def _watch(args: Namespace) -> int:
    """Run until a signal; what is on its way then has a few seconds to end, and else goes on another time."""
    import json
    import os
    from contextlib import ExitStack
    from threading import Event, Timer

    from hoist.cli.interrupt import end_by
    from hoist.cli.progress import make_reporter
    from hoist.sync.document import sync_document
    from hoist.sync.plan import parse_interval
    from hoist.sync.service import SyncMonitor
    from hoist.sync.watch import watch

    seconds = parse_interval(args.interval, "--interval") if args.interval else None
    stop = Event()

    def end(*_: object) -> None:
        if not stop.is_set():
            stop.set()
            timer = Timer(_GRACE_SECONDS, os._exit, [0])
            timer.daemon = True
            timer.start()

    end_by(end)
    monitor = SyncMonitor()

    def told(result: SyncResult) -> None:
        monitor.told(result)
        if args.json:
            print(json.dumps(sync_document(result)), flush=True)
        else:
            _print_result(result)
            sys.stdout.flush()
        _print_problems(result)

    with ExitStack() as stack:
        progress = stack.enter_context(make_reporter(args.quiet))
        if args.listen:
            from hoist.status.service import StatusService

            service = stack.enter_context(StatusService(args.listen, monitor))
            print(f"status at {service.url}/status", file=sys.stderr, flush=True)
        watch(lambda: _find(args), told, stop, interval_seconds=seconds, progress=progress)
    return 0


def _print_result(result: SyncResult) -> None:
    """What a run did, or would do, a paragraph a target."""
    for target in result.targets:
        _print_target(result, target)
    took = f"in {show_seconds(result.seconds)}"
    if result.error is None:
        state = "in step" if result.in_step else "NOT in step"
        print(
            printable(f"{result.plan}: {state} with {result.source}, {show_count(result.versions, 'version')}, {took}")
        )


def _print_target(result: SyncResult, target: TargetResult) -> None:
    found = target.difference
    if found is None:
        print(printable(f"{target.storage}: NOT in step: it could not be looked at"))
        return
    if target.dry_run:
        lines = [
            *(f"would bring the signatures of {version}" for version in found.sign),
            *(f"would bring {version}" for version in found.bring),
            *(_moved("would tag", each.tag.name, each.tag.tag, each.tag.label) for each in found.retag),
            *(f"would remove the tag {tag.name}:{tag.tag}" for tag in found.untag),
            *(f"would remove {version}" for version in found.remove),
        ]
        size = f": {show_size(target.lag.size)} at most" if target.lag.size else ""
        state = "in step" if target.in_step else f"NOT in step, {show_count(found.changes, 'change')}{size}"
    else:
        lines = [
            *(f"brought the signatures of {version}" for version in target.signed),
            *(f"brought {version}" for version in target.brought),
            *(_moved("tagged", tag.name, tag.tag, tag.label) for tag in target.tags),
            *(f"removed the tag {tag.name}:{tag.tag}" for tag in target.untagged),
            *(f"removed {version}" for version in target.removed),
            *(f"later: {why}" for why in target.later),
        ]
        moved = [
            f"{show_size(size)} {how}"
            for size, how in ((target.sent_bytes, "sent"), (target.copied_bytes, "copied inside it"))
            if size
        ]
        state = ("in step" if target.in_step else "NOT in step") + (f", {', '.join(moved)}" if moved else "")
    only = [f"only there: {version}" for version in found.extra] + [
        f"only there: the tag {tag.name}:{tag.tag}" for tag in found.extra_tags
    ]
    print(printable(f"{target.storage}: {state}"))
    for line in [*_some(lines), *_some(only)]:
        print(printable(f"  {line}"))


def _moved(how: str, name: str, tag: str, label: str) -> str:
    return f"{how} {name}:{tag} -> {label}"


def _some(lines: list[str]) -> list[str]:
    """The first lines, and how many more there are: --json has all."""
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"and {len(lines) - _SHOWN:,} more"]


def _print_problems(result: SyncResult) -> None:
    if not result.versions and result.error is None:
        warn(f"the plan {result.plan} names no version that {result.source} has: see its models")
    lines = [named_once(result.source, str(result.error))] if result.error else []
    for target in result.targets:
        texts = [f"{each.what}: {each.error}" if each.what else str(each.error) for each in target.problems]
        lines += _some([named_once(target.storage, text) for text in texts])
    for line in lines:
        tell_error(line)
