"""A relay that lets so many bytes a second through, all connections together: a store at its bandwidth's end."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Self

_STEP = 256 << 10


class ThrottledRelay:
    """Stands before a server on this host for the length of a `with` block. `sent`: bytes that clients have been given."""

    def __init__(self, port: int, bytes_per_second: float) -> None:
        self._upstream = port
        self._rate = bytes_per_second
        self._free_at = 0.0
        self.sent = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hoist-relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        done.result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_STEP)

    async def _end(self) -> None:
        self._server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream, limit=_STEP)
            asks = asyncio.ensure_future(self._pass(reader, up_writer, metered=False))
            await self._pass(up_reader, writer, metered=True)
            asks.cancel()
            up_writer.close()
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, metered: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(_STEP):
                if metered:
                    self._free_at = max(self._free_at, time.monotonic()) + len(data) / self._rate
                    await asyncio.sleep(max(0.0, self._free_at - time.monotonic()))
                    self.sent += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()
