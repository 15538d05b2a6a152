"""`hoist status`: how the storages are, now, again and again, and over HTTP."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_json
from hoist.cli.text import print_json

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from threading import Event

    from hoist.status.state import Status
    from hoist.status.watch import Past, Watch

GROUP = "keep in step"
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "status",
        run_status,
        "Show what is in each storage, how far it is behind, what is read now, what goes wrong",
        about="Without a name: every storage and plan of hoist.toml. All storages get --limit seconds at once: "
        "one that hangs keeps nobody waiting. Reads are those of the whole mount, disk or accelerator that a storage "
        "lies behind, by whoever. With --listen it goes on and answers GET /status, /metrics and /health.",
        examples=(
            "hoist status",
            "hoist status production --watch",
            "hoist status eu us --probe --json",
            "hoist status --listen 127.0.0.1:9464",
        ),
    )
    add = parser.add_argument
    add("names", metavar="PLAN|STORAGE", nargs="*", help="plans, files with one, storages (default: all)")
    add(
        "--probe",
        action="store_true",
        help="read at most 64 MiB of a version in each storage, to see how quickly it comes",
    )
    text = "time for the storages, all at once (default: 15)"
    add("--limit", type=float, default=15.0, metavar="SECONDS", help=text)
    text = "count reads for so long, where nothing has counted them before (default: 1)"
    add("--sample", type=float, default=1.0, metavar="SECONDS", help=text)
    add("--watch", action="store_true", help="go on, and show it again each --interval; until Ctrl-C or SIGTERM")
    add("--interval", default="30s", metavar="TIME", help="from one look to the next, as 10s or 5m (default: 30s)")
    add("--listen", metavar="HOST:PORT", help="go on, and answer there over HTTP; port 0 finds a free one")
    add(
        "--metrics-of",
        action="append",
        default=[],
        metavar="STORAGE=URL",
        help="metrics of an accelerator or mount of this storage, for what is read by it; may be repeated",
    )
    add_json(parser)


def run_status(args: Namespace) -> int:
    """Look once, or until a signal."""
    from hoist.status.run import Observer, Options, subject_of
    from hoist.status.watch import Watch
    from hoist.sync.plan import parse_interval

    _check(args)
    metrics = _metrics_of(args.metrics_of)
    observer = Observer(subject_of(args.names), Options(args.limit, args.sample, args.probe, metrics))
    watch = Watch(observer, parse_interval(args.interval, "--interval"))
    if args.watch or args.listen:
        return _go_on(args, watch)
    status = watch.look()
    _show(args, status)
    return _ended(status, status.exit_code)


def _check(args: Namespace) -> None:
    from hoist.errors import UsageError

    if not 0 < args.limit <= 3600:
        raise UsageError(f"--limit is above 0 and at most 3600 seconds, not {args.limit:g}")
    if not 0 <= args.sample <= 3600:
        raise UsageError(f"--sample is 0 to 3600 seconds, not {args.sample:g}")


def _metrics_of(given: list[str]) -> dict[str, list[str]]:
    """The URLs by storage, of `STORAGE=URL`. Raises UsageError."""
    import re

    from hoist.errors import UsageError

    found: dict[str, list[str]] = {}
    for each in given:
        parts = re.fullmatch(r"(.+?)=(https?://.+)", each)
        if not parts:
            raise UsageError(f"--metrics-of wants STORAGE=URL, as oss=http://127.0.0.1:9100/metrics, not {each!r:.100}")
        found.setdefault(parts[1], []).append(parts[2])
    return found


def _go_on(args: Namespace, watch: Watch) -> int:
    from contextlib import ExitStack
    from threading import Event

    from hoist.cli.interrupt import end_by
    from hoist.status.service import StatusService

    stop = Event()
    end_by(lambda *_: stop.set())
    with ExitStack() as stack:
        if args.listen:
            service = stack.enter_context(StatusService(args.listen, watch))
            print(
                f"hoist: status at {service.url}/status, metrics at {service.url}/metrics", file=sys.stderr, flush=True
            )
        status = _watch(args, watch, stop)
    return _ended(status, 0)


def _watch(args: Namespace, watch: Watch, stop: Event) -> Status:
    """Look until `stop` is set; the last of it."""
    while True:
        status = watch.look(stop)
        if args.watch and not stop.is_set():
            _show(args, status, watch.past(), again=True)
        if not watch.rest(stop):
            return status


def _show(args: Namespace, status: Status, past: Sequence[Past] = (), *, again: bool = False) -> None:
    from hoist.status.document import document

    if args.json and again:
        import json

        print(json.dumps(document(status)), flush=True)
    elif args.json:
        print_json(document(status))
    else:
        from hoist.cli.status_text import print_status

        if again and sys.stdout.isatty():
            print(_CLEAR, end="")
        print_status(status, past, again=again)
        sys.stdout.flush()


def _ended(status: Status, code: int) -> int:
    if status.late:
        import os

        # Python would wait for the threads of a pool, and they for a storage that does not answer.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
