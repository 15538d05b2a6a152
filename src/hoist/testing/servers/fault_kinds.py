"""What can go wrong with one answer, each as a small value: `Short()`, `Flip(at=9)`, `Refusal(429, retry_after=1)`.

A fault gets the exchange and does what a sick server would do in the right answer's place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from hoist.testing.servers.base import Answer

Moment = Literal["before", "headers", "body", "after"]
"""Before the origin is asked at all; behind the headers; in the middle of the body; when the origin has done it, but
without any answer (for a PUT: it is stored, and the client does not know)."""


class Exchange(Protocol):
    """One request, and the ways to answer it."""

    def origin(self, span: tuple[int, int] | None = None, *, whole: bool = False) -> Answer:
        """The right answer; to another half-open byte range, or to the request without its range."""

    def sent(self) -> bytes:
        """The request's body."""

    def pass_on(self, body: bytes) -> Answer:
        """What the origin answers to the request with another body."""

    def asked(self) -> tuple[int, int] | None:
        """The half-open range that was asked for."""

    def send(self, answer: Answer, *, promised: int | None = None, rate: float | None = None) -> None:
        """Send an answer; `promised` is a Content-Length that is not the body's, `rate` its bytes a second."""

    def send_head(self, answer: Answer) -> None:
        """Send the status and headers alone."""

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""

    def wait(self, seconds: float | None) -> None:
        """Stay silent; None: until the server stops."""

    def close(self) -> None:
        """Close the connection when the fault has been done."""

    def reset(self) -> None:
        """End the connection by RST, now."""

    def pick(self, below: int) -> int:
        """A random number of the plan's own, from 0."""


class Fault(Protocol):
    """Something that goes wrong."""

    def strike(self, exchange: Exchange) -> None:
        """Answer the request wrongly."""


@dataclass(frozen=True)
class Short:
    """The length is right and `keep` of the body comes; then the connection is closed."""

    keep: float = 0.5

    def strike(self, exchange: Exchange) -> None:
        answer = exchange.origin()
        cut = Answer(answer.status, answer.headers, answer.body[: int(len(answer.body) * self.keep)])
        exchange.send(cut, promised=len(answer.body))
        exchange.close()


@dataclass(frozen=True)
class Long:
    """More bytes than asked for, and so it says: the range goes on for `extra` bytes."""

    extra: int = 1000

    def strike(self, exchange: Exchange) -> None:
        asked = exchange.asked()
        exchange.send(exchange.origin((asked[0], asked[1] + self.extra)) if asked else exchange.origin())


@dataclass(frozen=True)
class Trailing:
    """Bytes follow an answer that is right and whole: what the next one on this connection begins with."""

    data: bytes = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nwrong"

    def strike(self, exchange: Exchange) -> None:
        exchange.send(exchange.origin())
        exchange.send_raw(self.data)


@dataclass(frozen=True)
class WrongLength:
    """Content-Length is `by` bytes more (or less) than what comes, which is right."""

    by: int = -10

    def strike(self, exchange: Exchange) -> None:
        answer = exchange.origin()
        exchange.send(answer, promised=max(0, len(answer.body) + self.by))
        exchange.close()


@dataclass(frozen=True)
class Slow:
    """The body comes at so many bytes a second."""

    bytes_per_second: float

    def strike(self, exchange: Exchange) -> None:
        exchange.send(exchange.origin(), rate=self.bytes_per_second)


@dataclass(frozen=True)
class Stalled:
    """Silence at that moment, for so many seconds (None: until the server stops); then the connection is closed."""

    moment: Moment = "body"
    seconds: float | None = None

    def strike(self, exchange: Exchange) -> None:
        _up_to(exchange, self.moment)
        exchange.wait(self.seconds)
        exchange.close()


@dataclass(frozen=True)
class Reset:
    """The connection is reset at that moment."""

    moment: Moment = "body"

    def strike(self, exchange: Exchange) -> None:
        _up_to(exchange, self.moment)
        exchange.reset()


@dataclass(frozen=True)
class Refusal:
    """An error status in the answer's place; `retry_after` in seconds, `more` are headers besides. `done`: the origin has
    done it all the same."""

    status: int = 503
    retry_after: float | None = None
    code: str = "SlowDown"
    done: bool = False
    more: tuple[tuple[str, str], ...] = ()

    def strike(self, exchange: Exchange) -> None:
        if self.done:
            exchange.origin()
        headers = {"content-type": "application/xml", **dict(self.more)}
        if self.retry_after is not None:
            headers["retry-after"] = f"{self.retry_after:g}"
        exchange.send(Answer(self.status, headers, f"<Error><Code>{self.code}</Code></Error>".encode()))


@dataclass(frozen=True)
class Redirect:
    """The object is said to live elsewhere."""

    to: str = "http://127.0.0.1:9/elsewhere"
    status: int = 307

    def strike(self, exchange: Exchange) -> None:
        exchange.send(Answer(self.status, {"location": self.to}, b""))


@dataclass(frozen=True)
class Replaced:
    """The object was replaced by one of the same size between two requests: other bytes, another ETag."""

    def strike(self, exchange: Exchange) -> None:
        answer = exchange.origin()
        other = bytes(byte ^ 0x5A for byte in answer.body)
        exchange.send(Answer(answer.status, {**answer.headers, "etag": '"replaced"'}, other))


@dataclass(frozen=True)
class OtherRange:
    """The bytes of a range `shift` further on; `said`: its Content-Range says so, else it claims the range asked."""

    shift: int = 1
    said: bool = True

    def strike(self, exchange: Exchange) -> None:
        asked = exchange.asked()
        answer = exchange.origin()
        if asked:
            other = exchange.origin((asked[0] + self.shift, asked[1] + self.shift))
            padded = other.body.ljust(len(answer.body), b"\0")[: len(answer.body)]
            answer = other if self.said else Answer(answer.status, answer.headers, padded)
        exchange.send(answer)


@dataclass(frozen=True)
class WrongContentRange:
    """The right bytes under a Content-Range that is not theirs."""

    value: str = "bytes 0-0/1"

    def strike(self, exchange: Exchange) -> None:
        answer = exchange.origin()
        exchange.send(Answer(answer.status, {**answer.headers, "content-range": self.value}, answer.body))


@dataclass(frozen=True)
class Whole:
    """200 and the whole object, whatever range was asked for. Slow, but right."""

    def strike(self, exchange: Exchange) -> None:
        exchange.send(exchange.origin(whole=True))


@dataclass(frozen=True)
class Flip:
    """One bit of the body is flipped: bit `at` (of byte `at // 8`), or a random one."""

    at: int | None = None

    def strike(self, exchange: Exchange) -> None:
        answer = exchange.origin()
        body = bytearray(answer.body)
        if body:
            bit = (exchange.pick(8 * len(body)) if self.at is None else self.at) % (8 * len(body))
            body[bit // 8] ^= 1 << bit % 8
        exchange.send(Answer(answer.status, answer.headers, bytes(body)))


@dataclass(frozen=True)
class FlipSent:
    """One bit of what the client sends is flipped on its way; the answer is the origin's own."""

    at: int | None = None

    def strike(self, exchange: Exchange) -> None:
        body = bytearray(exchange.sent())
        if body:
            bit = (exchange.pick(8 * len(body)) if self.at is None else self.at) % (8 * len(body))
            body[bit // 8] ^= 1 << bit % 8
        exchange.send(exchange.pass_on(bytes(body)))


@dataclass(frozen=True)
class CutSent:
    """The connection breaks while the client is sending: a random part of it, or `keep` of it, has reached the origin."""

    keep: float | None = None

    def strike(self, exchange: Exchange) -> None:
        body = exchange.sent()
        kept = exchange.pick(len(body)) if self.keep is None else int(len(body) * self.keep)
        exchange.pass_on(body[:kept])
        exchange.reset()


@dataclass(frozen=True)
class Garbage:
    """Something that is no answer: by default not even HTTP. The connection is closed behind it."""

    data: bytes = b"SSH-2.0-OpenSSH_9.6\r\n\r\n"

    def strike(self, exchange: Exchange) -> None:
        exchange.send_raw(self.data)
        exchange.close()


@dataclass(frozen=True)
class GarbageHeader:
    """A right answer with a header line of garbage in it."""

    line: bytes = b"X-\x00\xff garbage without a colon\r\n"

    def strike(self, exchange: Exchange) -> None:
        answer = exchange.origin()
        lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items() if name != "content-length")
        head = f"HTTP/1.1 {answer.status} X\r\n{lines}Content-Length: {len(answer.body)}\r\n".encode()
        exchange.send_raw(head + self.line + b"\r\n" + answer.body)
        exchange.close()


def _up_to(exchange: Exchange, moment: Moment) -> None:
    """Everything that goes right before the moment."""
    if moment == "before":
        return
    answer = exchange.origin()
    if moment == "headers":
        exchange.send_head(answer)
    elif moment == "body":
        exchange.send(
            Answer(answer.status, answer.headers, answer.body[: len(answer.body) // 2]), promised=len(answer.body)
        )
