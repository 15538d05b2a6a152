"""The verb that answers requests with models: serve."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, completes
from hoist.cli.text import printable

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.config import Config
    from hoist.function.service.limits import Tokens
    from hoist.function.service.settings import Settings

GROUP = "serve"
_TOKEN, _PORT = "HOIST_SERVE_TOKEN", "FC_SERVER_PORT"


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "serve",
        run_serve,
        "Answer HTTP requests by a handler, with one of several models",
        about="HANDLER is MODULE:NAME of a class or object with load(model) and handle(object, request), or of a function "
        "handle. POST /invoke asks it; a header X-Hoist-Model names the model, which is loaded first where it is not "
        "ready. It listens before it loads anything: /healthz answers at once, /readyz when requests are welcome. SIGTERM "
        "and Ctrl-C finish the running requests. More in docs/function.md.",
        examples=(
            "hoist serve app:Handler --models nas//sd15/anything:v5 nas//sd15/pastelmix:v1 --device cuda",
            "hoist serve app:handle --models chat=oss//llm/qwen:v2 --listen 127.0.0.1:8080 --token-file /run/secrets/token",
        ),
    )
    add = parser.add_argument
    add("handler", metavar="HANDLER", help="MODULE:NAME; the working folder is looked in too")
    text = "what it serves, by the name that requests use (default: the last part of the model's name); "
    text += "a request that names none gets the first"
    add("--models", nargs="+", required=True, metavar="[NAME=]LOCATION", help=text)
    add(
        "--listen",
        metavar="HOST:PORT",
        help=f"default: 0.0.0.0:9000, or the port that {_PORT} says; port 0: a free one",
    )
    add("--device", default="cpu", metavar="DEVICE", help="cpu, cuda or cuda:N (default: cpu)")
    add("--device-memory", metavar="SIZE", help="for models on the device (default: no limit)")
    add("--host-memory", metavar="SIZE", help="for weights in host memory (default: no limit)")
    add(
        "--concurrency", type=int, default=1, metavar="N", help="requests that the handler answers at once (default: 1)"
    )
    add("--queue", type=int, default=500, metavar="N", help="requests that may wait; more are refused (default: 500)")
    text = "what a request gets that names none, and the most that one may name (default: 300)"
    add("--deadline", type=float, default=300.0, metavar="SECONDS", help=text)
    add("--max-request", default="32MiB", metavar="SIZE", help="the largest body (default: 32MiB)")
    add("--drain", type=float, default=30.0, metavar="SECONDS", help="for running requests at the end (default: 30)")
    text = f"bearer tokens that may ask, one a line; or a token in {_TOKEN} (default: everybody may)"
    completes(add("--token-file", metavar="FILE", help=text), "file")
    add("--preload", metavar="NAME", help="loaded before it is ready (default: the first model)")
    add("--no-preload", action="store_true", help="ready without a model: each is loaded when it is asked for")
    add("--prefetch", nargs="+", default=[], metavar="NAME", help="then brought to host memory")
    add("--pin", nargs="+", default=[], metavar="NAME", help="never evicted once in memory")
    add(
        "--otlp",
        metavar="URL",
        help="send each load as a trace to this collector (default: OTEL_EXPORTER_OTLP_ENDPOINT)",
    )
    completes(
        add("--trace-file", metavar="FILE", help="append each load's trace to this file, a line of JSON each"), "file"
    )


def run_serve(args: Namespace) -> int:
    """Serve until a signal."""
    import os
    import signal

    settings = settings_of(args)
    from hoist.function.service.run import listening, serve

    # The signals are this verb's way to end: no farewell, no other code.
    signal.set_wakeup_fd(-1)
    # As with `python -m`, whichever way this was started.
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    with listening(settings) as port:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        where = f"http://{host}:{port.getsockname()[1]}"
        print(printable(f"serving {settings.handler} at {where}: {', '.join(settings.models)}"), flush=True)
        _start_log()
        ended = serve(settings, port)
    if not ended:
        # A handler that never comes back keeps nobody from the end; what it does is lost anyway.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def settings_of(args: Namespace) -> Settings:
    """What the command line and the environment say. Raises UsageError, InvalidConfig, InvalidReference."""
    from pathlib import Path

    from hoist.config import load_config, parse_size, sends_traces
    from hoist.errors import UsageError
    from hoist.function.service.settings import DEFAULT_PORT, Settings, parse_listen, parse_models
    from hoist.function.states import Budgets

    config = load_config()
    if args.preload and args.no_preload:
        raise UsageError("--preload and --no-preload exclude each other")
    models = parse_models(args.models)
    listen = args.listen or f"0.0.0.0:{config.environ.get(_PORT) or DEFAULT_PORT}"
    host, port = parse_listen(listen)

    def size(text: str | None) -> int | None:
        return None if text is None else parse_size(text)

    return Settings(
        handler=args.handler,
        models=models,
        host=host,
        port=port,
        device=args.device,
        budgets=Budgets(size(args.host_memory), size(args.device_memory)),
        concurrency=args.concurrency,
        queue=args.queue,
        deadline_seconds=args.deadline,
        request_bytes=parse_size(args.max_request),
        drain_seconds=args.drain,
        tokens=_tokens(args.token_file, config),
        preload=None if args.no_preload else args.preload or next(iter(models), None),
        prefetch=tuple(args.prefetch),
        pin=tuple(args.pin),
        trace_file=Path(args.trace_file).absolute() if args.trace_file else None,
        otlp=args.otlp,
        send_traces=args.otlp is not None or sends_traces(),
        platform=bool(config.environ.get(_PORT)),
    )


def _tokens(file: str | None, config: Config) -> Tokens:
    from pathlib import Path

    from hoist.function.service.limits import Tokens

    if file is not None:
        return Tokens.read(Path(file))
    if config.environ.get(_TOKEN):
        return Tokens.of([config.environ[_TOKEN]], _TOKEN)
    return Tokens()


def _start_log() -> None:
    import logging

    from hoist.storage.translate import redact

    class Redacted(logging.Formatter):
        """A traceback may hold a signed URL."""

        def format(self, record: logging.LogRecord) -> str:
            return redact(super().format(record))

    handler = logging.StreamHandler()
    handler.setFormatter(Redacted("%(asctime)s %(levelname)s %(message)s"))
    logging.captureWarnings(True)
    for name, level in (
        ("hoist.function", logging.INFO),
        ("uvicorn.error", logging.WARNING),
        ("py.warnings", logging.WARNING),
    ):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)
