"""The verbs that move a tag through regions, and back: rollout, rollback, history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hoist.cli.parser import Root, add_bandwidth, add_json, add_quiet
from hoist.cli.text import named_once, print_json, tell_error

if TYPE_CHECKING:
    from argparse import Namespace
    from threading import Event

GROUP = "keep in step"


def add_to(root: Root) -> None:
    """Add the verbs."""
    _add_rollout(root)
    _add_rollback(root)
    _add_history(root)


def _add_rollout(root: Root) -> None:
    parser = root.add_verb(
        GROUP,
        "rollout",
        run_rollout,
        "Move a tag to a version in one region after the other, with a check between",
        about=(
            "First the version is brought to every region that lacks it. Then, region by region, the tag is moved and the "
            "check is run. If it fails, or you press Ctrl-C, every region that was moved goes back to what stood there. "
            "A rollout that was killed goes on when it is run again. hoist rollback takes it back."
        ),
        examples=(
            "hoist rollout sd15/anything:v6 --tag stable --regions eu,us,ap --check './smoke-test.sh' --wait 10m",
            "hoist rollout sd15/anything:v6 --tag stable --regions eu,us --from ci --on-failure stop",
            "hoist rollout sd15/anything:v6 --tag stable --plan production --dry-run",
        ),
        resumable=True,
    )
    add = parser.add_argument
    add("reference", metavar="NAME:VERSION", help="the version, or a tag that names it")
    add("--tag", required=True, metavar="TAG", help="the tag that is moved, such as stable")
    _add_regions(parser, "the storages, in this order; default: those of --plan")
    add("--plan", default="", metavar="PLAN", help="a sync plan: its `from` and `to` are the regions, in that order")
    add(
        "--from",
        dest="source",
        default="",
        metavar="STORAGE",
        help="where it comes from; default: a region that has it",
    )
    text = "a command for the shell, run after each move, with HOIST_ROLLOUT_REGION, _LOCATION, _VERSION, _TAG and _PREVIOUS"
    add("--check", metavar="CMD", help=text)
    add("--check-timeout", default="5m", metavar="TIME", help="how long it may take, as 90s or 5m; default: 5m")
    add(
        "--wait", default="0s", metavar="TIME", help="how long to wait between two regions, as 60s; default: not at all"
    )
    text = "what becomes of the regions that were moved: back to what stood there (default), or stop and leave them"
    add("--on-failure", choices=("rollback", "stop"), default="rollback", help=text)
    add("--dry-run", action="store_true", help="only say what would be done")
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def _add_rollback(root: Root) -> None:
    parser = root.add_verb(
        GROUP,
        "rollback",
        run_rollback,
        "Let a tag name again what it named before",
        about=(
            "In each region by the tag's own history. Once more goes further back, and never to what was gone back from. A "
            "version that has gone from a region is brought back from another one first. A region that is down does not "
            "hold back the others; run it again when it is up."
        ),
        examples=(
            "hoist rollback sd15/anything --tag stable --regions eu,us,ap",
            "hoist rollback sd15/anything --tag stable --regions eu --to v4",
        ),
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="the model")
    add("--tag", required=True, metavar="TAG", help="its tag, such as stable")
    _add_regions(parser, "the storages")
    add("--to", metavar="VERSION", help="go to this version; default: what stood there before")
    add_json(parser)


def _add_history(root: Root) -> None:
    parser = root.add_verb(
        GROUP,
        "history",
        run_history,
        "Show who moved tags, when, and from what",
        examples=(
            "hoist history eu//sd15/anything:stable us//sd15/anything:stable",
            "hoist history nas//sd15/anything",
        ),
    )
    text = "tags, as STORAGE//NAME:TAG, or all of a model, as STORAGE//NAME"
    parser.add_argument("locations", metavar="LOCATION", nargs="+", help=text)
    add_json(parser)


def _add_regions(parser: Any, text: str) -> None:
    text += "; with commas between, or given several times"
    parser.add_argument("--regions", action="append", default=[], metavar="STORAGE,...", help=text)


def run_rollout(args: Namespace) -> int:
    """Roll out; the exit code is that of what failed."""
    from threading import Event

    from hoist.cli.progress import make_reporter
    from hoist.cli.rollout_text import Steps, print_outlook, rolled_document
    from hoist.errors import Cancelled
    from hoist.verbs import rollout

    stop = Event()
    orderly = _Orderly(stop)
    steps = Steps(orderly.begin, silent=args.json)
    with make_reporter(args.quiet) as progress:
        done = rollout(
            args.reference,
            tag=args.tag,
            regions=args.regions,
            plan=args.plan,
            source=args.source,
            check=args.check,
            check_timeout=_duration(args.check_timeout, "--check-timeout"),
            wait=_duration(args.wait, "--wait"),
            on_failure=args.on_failure,
            dry_run=args.dry_run,
            told=steps,
            stop=stop,
            progress=progress,
        )
    if args.json:
        print_json(rolled_document(done))
    elif args.dry_run:
        print_outlook(done)
    for each in done.regions:
        if each.error not in (None, done.error):
            tell_error(named_once(each.region, str(each.error)))
    cancelled = isinstance(done.error, Cancelled)
    if cancelled:
        print("hoist: cancelled; run it again to roll out", file=sys.stderr)
    elif done.error is not None:
        tell_error(str(done.error))
    if not args.json and not args.dry_run:
        steps.end(done)
    return orderly.code if cancelled else done.exit_code


def run_rollback(args: Namespace) -> int:
    """Go back; the exit code is that of what failed, or 1 for several kinds of failures."""
    from hoist.cli.rollout_text import Steps, back_document
    from hoist.errors import common_exit_code
    from hoist.verbs import rollback

    told = Steps(lambda: None, silent=args.json)
    done = rollback(args.name, tag=args.tag, regions=args.regions, to=args.to, told=told)
    if args.json:
        print_json({"name": args.name, "tag": args.tag, "regions": [back_document(each) for each in done]})
    for each in done:
        if each.error is not None:
            tell_error(named_once(each.region, str(each.error)))
    return common_exit_code(each.error.exit_code for each in done if each.error is not None)


def run_history(args: Namespace) -> int:
    """Show moves; the exit code is that of what failed, or 1 for several kinds of failures."""
    from hoist.cli.rollout_text import history_document, print_history
    from hoist.errors import common_exit_code
    from hoist.verbs import history

    found = history(args.locations)
    if args.json:
        print_json({"histories": [history_document(each) for each in found]})
    else:
        print_history(found)
    for each in found:
        if each.error is not None:
            tell_error(str(each.error))
    return common_exit_code(each.error.exit_code for each in found if each.error is not None)


def _duration(text: str, option: str) -> float:
    from hoist.errors import UsageError
    from hoist.transfer.collect import parse_duration

    try:
        return parse_duration(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None


class _Orderly:
    """Signals, once tags move: the first one ends the rollout in good order, a second one at once."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self.code = 0

    def begin(self) -> None:
        """From here on."""
        import signal
        import threading

        from hoist.cli.interrupt import end_by

        if threading.current_thread() is not threading.main_thread():
            return
        # Who ignores one, as nohup does, goes on to.
        those = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # Nobody ends the process after a grace: going back may take longer.
        end_by(self._hear, [each for each in those if signal.getsignal(each) != signal.SIG_IGN])

    def _hear(self, number: int, _: object) -> None:
        import os

        if self._stop.is_set():
            os.write(2, b"hoist: ended at once: hoist history says where the tag stands\n")
            os._exit(128 + number)
        self.code = 128 + number
        self._stop.set()
