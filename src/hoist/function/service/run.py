"""Running a service in this process: the port first, then everything else; until a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from hoist.errors import LocalError
from hoist.function.service.settings import Settings

if TYPE_CHECKING:
    import uvicorn

    from hoist.function.service.service import Service

# Function Compute keeps connections for as long as an instance lives, and takes one that ends for a failure.
_KEEP_ALIVE_SECONDS = 86400
_BACKLOG = 2048
# What an answer that is on its way gets, once nobody is waited for any longer.
_LAST_SECONDS = 2


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The port, on which clients can connect from now on; they are answered later. Raises LocalError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say that they are of TCP; without it each answer takes 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((settings.host, settings.port))
            made.listen(_BACKLOG)
        except (OSError, UnicodeError) as error:
            where = f"{settings.host}:{settings.port}"
            reason = getattr(error, "strerror", None) or error
            raise LocalError(f"cannot listen on {where}: {reason}; choose another with --listen") from None
        yield made


def serve(settings: Settings, port: socket.socket) -> bool:
    """Serve until SIGTERM or SIGINT; whether all that runs of the handler's came back.

    Raises UsageError where there is no such handler, LocalError, and whatever the handler's module raises.
    """
    return asyncio.run(_serve(settings, port))


async def _serve(settings: Settings, port: socket.socket) -> bool:
    from hoist.function.service.app import make_app
    from hoist.function.service.journal import Journal
    from hoist.function.service.service import Service

    service = Service(settings, Journal(settings.trace_file))
    server = _server(make_app(service), settings)
    loop = asyncio.get_running_loop()
    serving = asyncio.ensure_future(server.serve(sockets=[port]))
    starting = asyncio.ensure_future(service.lifecycle.start())
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        until: set[asyncio.Future[Any]] = {serving, stopping, _failure(starting)}
        await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
        await _end(service, server, serving)
    finally:
        stopping.cancel()
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting  # raises what kept the service from its start
    return not service.calls.abandoned


async def _end(service: Service, server: uvicorn.Server, serving: asyncio.Future[None]) -> None:
    """Take no more connections, answer those that are here, close."""
    server.should_exit = True
    await service.drain()
    service.lifecycle.give_up()
    await serving
    await service.close()


def _failure(starting: asyncio.Future[None]) -> asyncio.Future[None]:
    """Done only when the start has failed."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() and not failed.done():
            failed.set_result(None)

    starting.add_done_callback(look)
    return failed


def _server(app: object, settings: Settings) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Signals are this module's: uvicorn would end the process by the signal, and not with 0."""
            yield

    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.drain_seconds) + _LAST_SECONDS,
        backlog=_BACKLOG,
    )
    return Server(config)
