"""The verb that runs an accelerator: accelerate."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, completes
from hoist.cli.text import printable, show_size

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.accelerator.settings import Settings

GROUP = "accelerate"
_LISTEN = "127.0.0.1:8080"
_MIB = 1 << 20


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "accelerate",
        run_accelerate,
        "Run a regional read cache before an object store",
        about="nginx, configured and watched: many instances that load one model cost the origin one copy. It holds no "
        "credentials: each request is served only if the origin accepts it. Readers are told of it by accelerator = "
        '"http://HOST:PORT" of their storage. Runs until Ctrl-C or SIGTERM; SIGHUP reads certificates and addresses anew.',
        examples=(
            "hoist accelerate --origin oss --listen 0.0.0.0:8080 --cache-dir /var/cache/accel --size 500GiB",
            "hoist accelerate --origin s3://models/prefix --print-config",
        ),
    )
    add = parser.add_argument
    add("--origin", metavar="STORAGE", required=True, help="the object store: a name from hoist.toml, or a URL")
    add("--listen", metavar="HOST:PORT", default=_LISTEN, help=f"where clients come to (default: {_LISTEN})")
    completes(add("--cache-dir", metavar="DIR", help="where slices are kept (default: in Hoist's own cache)"), "folder")
    add("--size", metavar="SIZE", help="of the cache, in bytes (default: 80%% of what its disk has for it)")
    text = "how long the origin's permission for one request counts (default: 10; 0 asks each time)"
    add("--check-seconds", type=int, default=10, metavar="N", help=text)
    add(
        "--metrics",
        type=int,
        metavar="PORT",
        help="show metrics for Prometheus on this port of 127.0.0.1; 0: a free one",
    )
    completes(add("--tls-cert", metavar="FILE", help="certificate chain for clients, PEM"), "file")
    completes(add("--tls-key", metavar="FILE", help="its key (default: in the same file)"), "file")
    add("--print-config", action="store_true", help="show nginx's configuration instead")


def run_accelerate(args: Namespace) -> int:
    """Run it, or show its configuration."""
    settings = settings_of(args)
    if args.print_config:
        from pathlib import Path

        from hoist.accelerator.render import render
        from hoist.accelerator.settings import Places

        run = Path("/run/hoist-accelerate")
        trusted = run / "trusted.pem" if settings.origin.scheme == "https" else None
        print(render(settings, Places(run, trusted=trusted)), end="")
        return 0
    return _serve(settings, args.metrics)


def settings_of(args: Namespace) -> Settings:
    """What the command line says. Raises InvalidConfig, UsageError, LocalError."""
    import os
    from pathlib import Path

    from hoist.accelerator.origin import origin_of
    from hoist.accelerator.settings import Settings, parse_listen
    from hoist.accelerator.sizing import default_sizes
    from hoist.config import load_config, parse_size
    from hoist.errors import UsageError

    config = load_config()
    if not 0 <= args.check_seconds <= 3600:
        raise UsageError("--check-seconds is 0 to 3600")
    if args.tls_key and not args.tls_cert:
        raise UsageError("--tls-key goes with --tls-cert")
    for file in filter(None, (args.tls_cert, args.tls_key)):
        if not Path(file).is_file():
            raise UsageError(f"{file} is no file")
    origin = origin_of(config.storage(args.origin), config.environ)
    cache = Path(args.cache_dir or config.cache_folder / "accelerator").absolute()
    size, free = default_sizes(cache)
    return Settings(
        origin,
        parse_listen(args.listen),
        cache,
        parse_size(args.size) if args.size else size,
        args.check_seconds,
        certificate=Path(args.tls_cert).absolute() if args.tls_cert else None,
        key=Path(args.tls_key).absolute() if args.tls_key else None,
        workers=os.cpu_count() or 1,
        keep_free=free,
    )


def _serve(settings: Settings, metrics_port: int | None) -> int:
    import signal
    from contextlib import ExitStack
    from threading import Event

    from hoist.accelerator.live import LiveAccelerator, noted
    from hoist.accelerator.run import Accelerator
    from hoist.cli.interrupt import end_by
    from hoist.config import load_config
    from hoist.expose import MetricsServer

    stop, reload = Event(), Event()
    end_by(lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    with ExitStack() as stack:
        accelerator = stack.enter_context(Accelerator(settings, _say))
        scheme = "https" if settings.certificate else "http"
        shown = f"accelerating {settings.origin.address} at {scheme}://{settings.listen}, up to "
        shown += f"{show_size(settings.size)} in {settings.cache}"
        if metrics_port is not None:
            server = MetricsServer(accelerator.metrics.text, metrics_port)
            stack.callback(server.close)
            live = LiveAccelerator(str(settings.listen), server.port)
            stack.enter_context(noted(load_config().runtime_folder, live))
            shown += f"; metrics at http://127.0.0.1:{server.port}/metrics"
        print(printable(shown), flush=True)
        accelerator.watch(stop, reload)
    return 0


def _say(line: str) -> None:
    print(printable(f"hoist: {line}"), file=sys.stderr, flush=True)
