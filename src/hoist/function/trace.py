"""Where the time of one start or switch went: phases with their bytes, as a value and as JSON. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from hoist.errors import InvalidFile

SCHEMA: Final = "hoist.trace/1"
KINDS: Final = ("start", "switch", "prefetch", "load")
"""What was asked: an instance's first model, another one, one that nobody waits for yet, or a load outside a function."""
PHASES: Final = (
    *("queue", "provision", "import", "evict", "network", "mount"),
    *("fetch", "verify", "deserialize", "transfer", "warmup"),
)
"""In their order. `queue` is the wait for room or for another load, `evict` what makes room. `fetch` verifies each block as
it arrives: `verify` is only what is checked apart from that. `transfer` is to the device."""
DONE: Final = "done"
OUTCOMES: Final = (DONE, "failed", "cancelled", "refused")
_ID = re.compile(r"[0-9a-f]{32}")
# An integer that a double holds: what JSON readers other than Python's keep.
_MOST_BYTES = 2**53


def new_trace_id() -> str:
    """A fresh identity: 32 hexadecimal digits, as OpenTelemetry has them, and never all zeros."""
    import uuid

    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Span:
    """One phase, or a part of one: from `begin` to `end`, in seconds from the trace's beginning, with the bytes it moved.

    Spans may overlap: fetching, verifying and copying do. Raises ValueError where it says something impossible.
    """

    phase: str
    begin: float
    end: float
    bytes: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise ValueError(f"there is no phase {self.phase!r:.60}; there are {', '.join(PHASES)}")
        _text("note", self.note)
        for name in ("begin", "end"):
            # A whole number is taken too, and kept as JSON gives it back.
            object.__setattr__(self, name, _seconds(name, getattr(self, name)))
        if self.end < self.begin:
            raise ValueError(f"a {self.phase} that ends before it begins")
        _count("bytes", self.bytes)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Trace:
    """One start, switch, prefetch or load. `began` is in Unix seconds; every time of a span counts from there.

    `model` is the name that requests use, `version` the manifest's digest (`sha256:...`; empty for a local path),
    `storage_kind` image, nas, oss or accl (empty where unknown), `device` torch's word, `error` why it is not `done`.
    Of the model's `size_bytes`, `fetched_bytes` came from the storage or the host cache, `host_reused_bytes` were in host
    memory already, `device_copied_bytes` went to the device, and `device_reused_bytes` were there already.
    Raises ValueError where it says something impossible.
    """

    id: str
    model: str
    kind: str
    began: float
    spans: tuple[Span, ...] = ()
    outcome: str = DONE
    error: str = ""
    version: str = ""
    storage_kind: str = ""
    device: str = "cpu"
    size_bytes: int = 0
    fetched_bytes: int = 0
    host_reused_bytes: int = 0
    device_copied_bytes: int = 0
    device_reused_bytes: int = 0

    def __post_init__(self) -> None:
        _text("id", self.id)
        if not _ID.fullmatch(self.id) or not int(self.id, 16):
            raise ValueError("id is not 32 hexadecimal digits")
        if self.kind not in KINDS:
            raise ValueError(f"kind is none of {', '.join(KINDS)}")
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome is none of {', '.join(OUTCOMES)}")
        for name in ("model", "error", "version", "storage_kind", "device"):
            _text(name, getattr(self, name))
        for name in _BYTES:
            _count(name, getattr(self, name))
        object.__setattr__(self, "began", _seconds("began", self.began))
        object.__setattr__(self, "spans", tuple(self.spans))
        if not all(isinstance(span, Span) for span in self.spans):
            raise ValueError("spans holds something else")

    @property
    def seconds(self) -> float:
        """From the beginning to the end of the last span."""
        return max((span.end for span in self.spans), default=0.0)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What each phase comes to, in the order in which they first began."""
        begun = sorted(self.spans, key=lambda span: (span.begin, PHASES.index(span.phase)))
        names = dict.fromkeys(span.phase for span in begun)
        return tuple(_phase(name, [span for span in self.spans if span.phase == name]) for name in names)

    def to_document(self) -> dict[str, Any]:
        """What JSON says of it, with the schema."""
        return {"schema": SCHEMA, **asdict(self), "spans": [asdict(span) for span in self.spans]}

    def to_json(self) -> str:
        """One line of canonical JSON: keys in order, no spaces; equal traces give equal lines."""
        return json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The trace that `to_json` wrote. Raises InvalidFile."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidFile("not a trace: not JSON") from None
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: object) -> Self:
        """The trace that `to_document` gave. Raises InvalidFile: of another schema, with fields missing, or impossible."""
        if not isinstance(document, Mapping) or not isinstance(document.get("schema"), str):
            raise InvalidFile("not a trace: an object with schema, id, model, kind, began and spans is wanted")
        schema = document["schema"]
        if schema != SCHEMA:
            raise InvalidFile(f"not a trace of {SCHEMA}: its schema is {schema!r:.60}")
        values = {key: value for key, value in document.items() if key != "schema"}
        try:
            spans = values["spans"]
            if not isinstance(spans, list):
                raise ValueError("spans is no list")
            # What a later Hoist adds under the same schema is no reason to refuse the rest.
            values = {name: values[name] for name in _TRACE_FIELDS if name in values}
            return cls(**values | {"spans": tuple(map(_span, spans))})
        except KeyError as error:
            raise InvalidFile(f"not a trace: {error} is missing") from None
        except (ValueError, TypeError) as error:
            raise InvalidFile(f"not a trace: {error}") from None


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of one trace: first beginning, last end, the seconds in which any span of it ran, its bytes and notes."""

    name: str
    begin: float
    end: float
    seconds: float
    bytes: int
    notes: tuple[str, ...] = ()

    @property
    def bytes_per_second(self) -> float | None:
        """Its bandwidth; None where it moved nothing, or no time passed."""
        return self.bytes / self.seconds if self.bytes and self.seconds > 0 else None


def covered_seconds(spans: Iterable[Span]) -> float:
    """The seconds in which at least one of these runs."""
    total, reached = 0.0, 0.0
    for span in sorted(spans, key=lambda span: span.begin):
        total += max(0.0, span.end - max(span.begin, reached))
        reached = max(reached, span.end)
    return total


def _phase(name: str, spans: list[Span]) -> Phase:
    notes = tuple(dict.fromkeys(span.note for span in spans if span.note))
    begin, end = min(span.begin for span in spans), max(span.end for span in spans)
    return Phase(name, begin, end, covered_seconds(spans), sum(span.bytes for span in spans), notes)


def _span(document: object) -> Span:
    if not isinstance(document, Mapping):
        raise ValueError("a span is no object")
    return Span(
        **{name: document[name] for name in _SPAN_FIELDS if name in document or name in ("phase", "begin", "end")}
    )


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is no number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not (0 <= found < math.inf):
        raise ValueError(f"{name} is no time: {found:g}")
    return found


def _count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_BYTES:
        raise ValueError(f"{name} is no number of bytes")


def _text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")


_TRACE_FIELDS: Final = tuple(field.name for field in fields(Trace))
_SPAN_FIELDS: Final = tuple(field.name for field in fields(Span))
_BYTES: Final = tuple(name for name in _TRACE_FIELDS if name.endswith("_bytes"))
