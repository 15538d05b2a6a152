"""Ranged GETs over pooled connections, straight into the caller's memory.

A general-purpose client copies each byte two or three times; at gigabytes that is most of a load's CPU. Here the
socket's bytes are received into the buffer that the tensors will be views of.

The slowest requests decide when a load ends. One whose server is silent for far longer than usual, or sends far less,
is asked for a second time over another connection, and the first to come is taken; a stuck body goes on elsewhere from
the byte it had come to. Only one of the two ever writes to the buffer. Who has another place to read from says so by
`limits`: then a server that stays silent, or is too slow, is given up.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from hoist.errors import HoistError
from hoist.storage.answers import unavailable
from hoist.storage.exchange import Exchange, first_ready
from hoist.storage.limits import Late, Limits, limits_now
from hoist.storage.patience import Patience
from hoist.storage.pool import ConnectionPool, Place

READ_SECONDS = 30.0
# How much is received before the rate is looked at.
_STEP_BYTES = 4 << 20
_LOOKS = 4
# A time limit of 0 would be none, to the socket.
_LEAST_WAIT = 0.01


@dataclass(frozen=True, slots=True)
class _Target:
    """What is asked for; `what` names it in errors, as the URL may hold a secret."""

    place: Place
    path: str
    end: int
    what: str
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    silent_seconds: float = READ_SECONDS
    limits: Limits | None = None

    def longest(self, heard: float | None = None) -> float:
        """How long may be waited now for something to come, where something was last `heard` then (None: now)."""
        now = time.monotonic()
        silence = self.silent_seconds - (now - (heard or now))
        return max(0.0, min(silence, self.limits.until - now) if self.limits else silence)

    def late(self, *, silent: bool) -> Late:
        """What to raise for a server that is given up."""
        host = self.place.netloc.rpartition("@")[2]
        how = f"sent nothing for {self.silent_seconds:.1f} s" if silent else "is far slower than usual"
        return Late(f"{self.what}: {host} {how}", silent=silent)


class RangeClient:
    """Reads ranges of URLs. Safe for many threads; each takes a connection of its own from the pool.

    `ca_bundle` is a PEM file to trust besides the system's; `read_seconds` how long a server may stay silent;
    `patience` decides when to ask a second time.
    """

    def __init__(
        self, ca_bundle: str | None = None, read_seconds: float = READ_SECONDS, patience: Patience | None = None
    ) -> None:
        self._read_seconds = read_seconds
        self._pool = ConnectionPool(ca_bundle, read_seconds)
        self.patience = patience or Patience()
        self.throttled = 0
        """How many answers have said so far that the server holds them back."""

    def read_into(
        self, url: str, offset: int, buffer: memoryview, what: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Fill `buffer` with the object's bytes from `offset`; `what` names it in errors, as the URL may hold a secret.

        `headers` are sent along. Raises FileNotFound, PermissionDenied (with `headers`, if only empty ones,
        answers.Elsewhere and answers.Unauthorised too), Damaged (the object is shorter), StorageUnavailable.
        """
        if not buffer:
            return
        parts = urlsplit(url)
        place = Place(parts.scheme, parts.netloc)
        path = self._pool.path(place, f"{parts.path}?{parts.query}" if parts.query else parts.path)
        limits = limits_now()
        silent = min(self._read_seconds, limits.silent_seconds) if limits else self._read_seconds
        target = _Target(place, path, offset + len(buffer), what, headers, silent, limits)
        try:
            exchange = self._fill(target, offset, buffer)
            if exchange.finish():
                self._pool.give(place, exchange.connection)
            else:
                exchange.close()
        except (OSError, http.client.HTTPException) as error:
            if limits and isinstance(error, TimeoutError):
                raise target.late(silent=True) from None
            raise unavailable(what, parts.netloc, error) from None

    def first_byte_seconds(self) -> float | None:
        """How long the first byte usually takes, of late; None while that is not known."""
        return self.patience.usual_wait()

    def drop(self, url: str) -> None:
        """Close the idle connections to the server of a URL."""
        parts = urlsplit(url)
        self._pool.drop(Place(parts.scheme, parts.netloc))

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def _fill(self, target: _Target, offset: int, buffer: memoryview) -> Exchange:
        """The exchange that brought the last byte, with the whole buffer filled."""
        exchange = self._ask(target, offset)
        asked = began = heard = time.monotonic()
        done = base = 0
        try:
            while done < len(buffer):
                patience = self.patience.seconds(max(_LEAST_WAIT, target.longest()))
                step = buffer[done : done + _STEP_BYTES]
                # It is not said when in this time the last byte came: for a limit, that has to be known better.
                looks = min(patience, target.silent_seconds / _LOOKS) if target.limits else patience
                got = exchange.receive(step, looks, target.what)
                now = time.monotonic()
                heard = now if got else heard
                done += got
                if now - heard > target.silent_seconds:
                    raise TimeoutError
                if target.limits and now > target.limits.until and done < len(buffer):
                    raise target.late(silent=False)
                stuck = not got and (looks == patience or now - heard >= patience)
                late = got < len(step) and now - began >= patience
                if stuck or (late and self.patience.is_slow(done - base, now - began)):
                    exchange = self._go_on(exchange, target, offset + done, heard, stuck=stuck)
                    began, base = time.monotonic(), done
        except BaseException:
            exchange.close()
            raise
        self.patience.received(len(buffer), time.monotonic() - asked)
        return exchange

    def _ask(self, target: _Target, begin: int) -> Exchange:
        """Send the request, come to the answer's body. A connection that the server had closed is no error."""
        while True:
            exchange = self._send(target, begin)
            sent = time.monotonic()
            try:
                if not first_ready([exchange], self.patience.seconds(target.longest())):
                    exchange = self._race(exchange, target, begin, sent)
                if target.limits:
                    exchange.patient(target.silent_seconds)
                exchange.begin_body(target.what)
                self.throttled += exchange.throttled
                self.patience.answered(time.monotonic() - sent)
                return exchange
            except (OSError, http.client.HTTPException) as error:
                exchange.close()
                # One that is silent is not asked again here.
                if not exchange.reused or isinstance(error, TimeoutError):
                    raise
            except BaseException:
                exchange.close()
                raise

    def _send(self, target: _Target, begin: int) -> Exchange:
        while True:
            connection, reused = self._pool.take(target.place, target.silent_seconds)
            try:
                return Exchange(connection, target.path, begin, target.end, reused=reused, more=target.headers)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not reused or isinstance(error, TimeoutError):
                    raise

    def _race(self, first: Exchange, target: _Target, begin: int, sent: float) -> Exchange:
        """The first to be heard of `first`, which was sent then, and a second request like it; the other is closed.

        Raises TimeoutError."""
        second = self._second(target, begin)
        runners = [first, second] if second else [first]
        ready = first_ready(runners, target.longest(sent))
        winner = ready[0] if ready else first
        for runner in runners:
            if runner is not winner:
                runner.close()
        if not ready:
            raise TimeoutError
        return winner

    def _second(self, target: _Target, begin: int) -> Exchange | None:
        try:
            return self._send(target, begin) if self.patience.may_hedge() else None
        except (OSError, http.client.HTTPException):
            # The first may still come.
            return None

    def _go_on(self, first: Exchange, target: _Target, begin: int, heard: float, *, stuck: bool) -> Exchange:
        """Where the rest of a body comes from, from `begin` on: `first`, or another exchange in its place. `heard`: when
        something has come last; `stuck`: too long ago."""
        second = self._second(target, begin)
        if second is None:
            return first
        try:
            longest = target.longest(heard)
            if not first_ready([first, second] if stuck else [second], longest if stuck else min(1.0, longest)):
                raise TimeoutError
            if stuck and first_ready([first], 0):
                second.close()
                return first
            second.begin_body(target.what)
        except (HoistError, OSError, http.client.HTTPException):
            second.close()
            return first
        first.close()
        return second
