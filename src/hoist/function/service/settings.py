"""What a service is told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hoist.errors import InvalidConfig, UsageError
from hoist.function.service.limits import Tokens
from hoist.function.states import Budgets
from hoist.model.reference import parse_location

# Function Compute's own figures: its port, and the largest body of a synchronous call.
DEFAULT_PORT = 9000
DEFAULT_REQUEST_BYTES = 32 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:@/-]{0,199}")
_LISTEN = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]|\*):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Settings:
    """What a service is told. `models` are locations by the name that requests use, the first one the default.

    `concurrency` is how many requests the handler answers at once, `queue` how many more may wait. `deadline_seconds` is
    what a request gets that names no deadline, and the most that one may name. `drain_seconds` is how long running
    requests have at the end. `preload` is loaded before the service is ready (None: nothing is), then `prefetch` comes
    to host memory; `pin` stays in memory. Traces go to `trace_file`, and to a collector if `send_traces`: the one at `otlp`,
    or where OpenTelemetry's variables say. `platform`: Function Compute has started this.
    """

    handler: str
    models: Mapping[str, str]
    host: str = "0.0.0.0"  # noqa: S104 a function is asked from outside
    port: int = DEFAULT_PORT
    device: str = "cpu"
    budgets: Budgets = Budgets()  # noqa: RUF009 a frozen value
    concurrency: int = 1
    queue: int = 500
    deadline_seconds: float = 300.0
    request_bytes: int = DEFAULT_REQUEST_BYTES
    drain_seconds: float = 30.0
    tokens: Tokens = field(default=Tokens(), repr=False)
    preload: str | None = None
    prefetch: tuple[str, ...] = ()
    pin: tuple[str, ...] = ()
    trace_file: Path | None = None
    otlp: str | None = None
    send_traces: bool = False
    platform: bool = False

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("no models are given: --models NAME=STORAGE//MODEL:VERSION ...")
        for name in (*filter(None, (self.preload,)), *self.prefetch, *self.pin):
            if name not in self.models:
                raise UsageError(f"{name!r} is none of the models: {', '.join(self.models)}")
        for what, value, least, most in (
            ("--concurrency", self.concurrency, 1, 1000),
            ("--queue", self.queue, 0, 100_000),
            ("--deadline", self.deadline_seconds, 0.001, 86400),
            ("--drain", self.drain_seconds, 0, 86400),
            ("--max-request", self.request_bytes, 1, 1 << 40),
        ):
            if not least <= value <= most:
                raise UsageError(f"{what} is {least:g} to {most:g}, not {value:g}")

    @property
    def default_model(self) -> str:
        """What a request gets that names none."""
        return next(iter(self.models))


def parse_models(texts: Sequence[str]) -> dict[str, str]:
    """Locations by name, from NAME=LOCATION or LOCATION: then the last part of the model's name, or with its version where
    two models would have one name. Raises InvalidReference, UsageError."""
    pairs: list[tuple[str | None, str]] = []
    for text in texts:
        name, mark, location = text.partition("=")
        named = bool(mark) and "//" not in name
        if named and not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name that a header can carry: letters, digits and . _ + : @ / -")
        pairs.append((name if named else None, location if named else text))
    references = [parse_location(location).reference for _, location in pairs]
    shorts = [reference.name.rpartition("/")[2] for reference in references]
    often = Counter(name or short for (name, _), short in zip(pairs, shorts, strict=True))
    found: dict[str, str] = {}
    for (given, location), short, reference in zip(pairs, shorts, references, strict=True):
        chosen = given or (short if often[short] == 1 else str(reference))
        if chosen in found:
            raise UsageError(f"two models are called {chosen!r}: give one another name, as {chosen}-2={location}")
        found[chosen] = location
    return found


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT or :PORT; port 0 finds a free one. Raises InvalidConfig."""
    found = _LISTEN.fullmatch(text if not text.startswith(":") else f"*{text}")
    if not found or int(found["port"]) > 65535:
        raise InvalidConfig(f"--listen wants HOST:PORT, as 0.0.0.0:{DEFAULT_PORT}, not {text!r}")
    host = found["host"].strip("[]")
    return ("0.0.0.0" if host == "*" else host), int(found["port"])  # noqa: S104
