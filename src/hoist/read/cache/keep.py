"""The sink in front of a sink: claims blocks, writes what was verified to the cache, and passes it on."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from hoist.read.plan import Request
from hoist.read.sink import CallbackSink, Sink

if TYPE_CHECKING:
    from hoist.read.cache.fill import Filling


class Discard(CallbackSink):
    """Memory for bytes that only the cache wants."""

    def __init__(self) -> None:
        super().__init__(lambda request, view: None)


class Keep:
    """Bytes on their way to `inner`, as one `filling` wants them; `how` they came is told to it.

    `claims`: blocks that anybody else brings are left out. `writes`: the cache keeps them.
    """

    def __init__(self, filling: Filling, inner: Sink, how: str, *, claims: bool = False, writes: bool = False) -> None:
        self._filling = filling
        self._inner = inner
        self._how = how
        self._claims = claims
        self._writes = writes
        self._lock = Lock()
        self._taken: dict[int, Request] = {}

    def acquire(self, request: Request) -> memoryview | None:
        if self._claims and not self._claim(request):
            self._filling.skipped(request)
            return None
        try:
            view = self._inner.acquire(request)
            if view is None:
                raise AssertionError("only this sink leaves requests out")
        except BaseException:
            self._let_go(request)
            raise
        with self._lock:
            self._taken[id(view)] = request
        return view

    def commit(self, request: Request, view: memoryview) -> None:
        with self._lock:
            self._taken.pop(id(view), None)
        cached = self._filling.cached
        try:
            if self._claims and cached:
                if self._writes and cached.usable:
                    cached.write(request.first, request.last, view)
                elif not self._writes:
                    cached.mark(request.first, request.last)
        except OSError as error:
            assert cached
            cached.host.refuse(cached, error)
        finally:
            self._let_go(request)
        self._inner.commit(request, view)
        self._filling.done(request, self._how)

    def release(self, view: memoryview) -> None:
        with self._lock:
            request = self._taken.pop(id(view), None)
        if request:
            self._let_go(request)
        self._inner.release(view)

    def _claim(self, request: Request) -> bool:
        """Claim the blocks, unless somebody has, or has brought one since it was looked for."""
        cached = self._filling.cached
        if cached is None or not cached.claims.take(request.first, request.last):
            return False
        if any(cached.has(index) for index in range(request.first, request.last)):
            cached.claims.give(request.first, request.last)
            return False
        return True

    def _let_go(self, request: Request) -> None:
        if self._claims and self._filling.cached:
            self._filling.cached.claims.give(request.first, request.last)
