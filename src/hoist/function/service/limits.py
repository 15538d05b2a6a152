"""Who may ask, and how much at once: bearer tokens, and the size of a request."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hoist.errors import InvalidConfig

if TYPE_CHECKING:
    from starlette.requests import Request

_TOKEN = re.compile("[!-~]{16,4096}")
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 64 << 20


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that are let in, kept as digests only; with none, everybody is."""

    digests: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str], where: str) -> Self:
        """The tokens among these lines. Raises InvalidConfig, with `where` and never with a token."""
        tokens = [text.strip() for text in texts if text.strip()]
        if not tokens:
            raise InvalidConfig(f"{where} holds no token: write one a line")
        for token in tokens:
            if not _TOKEN.fullmatch(token):
                raise InvalidConfig(
                    f"{where} holds a token that is none: 16 to 4096 printable ASCII characters without spaces, "
                    "as `openssl rand -hex 32` makes them"
                )
        return cls(tuple(_digest(token.encode()) for token in tokens))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The tokens in a file, one a line, so that an old and a new one can both work. Raises InvalidConfig."""
        try:
            text = path.read_text(encoding="ascii")
        except UnicodeDecodeError:
            raise InvalidConfig(f"{path} holds something else than tokens") from None
        except OSError as error:
            raise InvalidConfig(f"the token file {path} cannot be read: {error.strerror or error}") from None
        return cls.of(text.splitlines(), str(path))

    def allow(self, authorization: str | None) -> bool:
        """Whether this Authorization header lets somebody in. It takes as long whatever the header says."""
        if not self.digests:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip().encode(errors="replace"))
        known = [hmac.compare_digest(given, digest) for digest in self.digests]
        return any(known) and scheme.lower() == "bearer"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


class TooLarge(Exception):
    """A request's body is larger than it may be."""


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises TooLarge, as early as that is known; ClientDisconnect."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        if request.headers.get("expect", "").lower() != "100-continue":
            await _discard(request, int(announced))
        raise TooLarge
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            parts.clear()
            await _discard(request, _LINGER_BYTES)
            raise TooLarge
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _discard(request: Request, size: int) -> None:
    """Read on for a moment: a client that is still sending would not see the answer, but a reset connection."""
    until = asyncio.get_running_loop().time() + _LINGER_SECONDS
    left = min(size, _LINGER_BYTES)
    while left > 0:
        try:
            async with asyncio.timeout_at(until):
                message = await request.receive()
        except TimeoutError:
            return
        if message["type"] != "http.request" or not message.get("more_body"):
            return
        left -= len(message.get("body", b""))
