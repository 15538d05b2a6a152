"""Traces to an OpenTelemetry collector, over HTTP. The SDK is imported only by who sends: `pip install 'hoist[otel]'`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hoist.errors import LocalError, StorageUnavailable, UsageError
from hoist.function.trace import DONE, Span, Trace

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

SCOPE: Final = "hoist"
_PATH = "/v1/traces"
_TIMEOUT_SECONDS = 5.0
_NANOSECONDS = 1_000_000_000
# What the OTLP fields hold: unsigned 64-bit nanoseconds.
_LAST_NANOSECOND = 2**64 - 1


def send(url: str, traces: Sequence[Trace], seconds: float = _TIMEOUT_SECONDS) -> None:
    """Send these traces to the collector at `url` and wait for its answer; each phase is a span below one of the trace.

    A trace that is sent again has the same identity. Raises UsageError, LocalError, StorageUnavailable.
    """
    endpoint = _endpoint(url)
    exporter = _exporter(endpoint, seconds)
    from opentelemetry.sdk.trace.export import SpanExportResult

    resource = _resource()
    try:
        with _silence():
            sent = exporter.export([span for trace in traces for span in to_spans(trace, resource)])
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
    if sent is not SpanExportResult.SUCCESS:
        raise StorageUnavailable(
            f"{endpoint} did not take the traces: does a collector listen there for OTLP over HTTP?"
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Without the SDK's log of what went wrong: who waits for the answer hears of it."""
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class Exporter:
    """Sends each trace that it is called with in the background, so that nobody waits for a collector.

    Without `url` where OTEL_EXPORTER_OTLP_ENDPOINT (or _TRACES_ENDPOINT) says; the other variables of the OpenTelemetry SDK
    count too. What cannot be sent is dropped, and the SDK's logger says so. Raises UsageError, LocalError.
    """

    def __init__(self, url: str | None = None) -> None:
        self._exporter = _exporter(url and _endpoint(url))
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._resource = _resource()
        self._processor = BatchSpanProcessor(self._exporter)

    def __call__(self, trace: Trace) -> None:
        """Send it soon."""
        for span in to_spans(trace, self._resource):
            self._processor.on_end(span)

    def close(self, seconds: float = 5.0) -> None:
        """Send what is left, for so many seconds; what is still there then is dropped."""
        ending = Thread(target=self._processor.shutdown, name="hoist-otel-close", daemon=True)
        ending.start()
        ending.join(seconds)
        if ending.is_alive():
            # It tries again and again otherwise, for half a minute.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


def to_spans(trace: Trace, resource: Resource | None = None) -> Iterator[ReadableSpan]:
    """The trace as OpenTelemetry's spans: one for all, named after its kind, and one for each of its spans below it."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode

    def context(number: int) -> SpanContext:
        return SpanContext(int(trace.id, 16), _span_id(trace.id, number), False, TraceFlags(TraceFlags.SAMPLED))

    root = context(0)
    status = Status(StatusCode.OK) if trace.outcome == DONE else Status(StatusCode.ERROR, _valid(trace.error))
    common = {"resource": resource, "instrumentation_scope": InstrumentationScope(SCOPE)}
    yield ReadableSpan(
        f"hoist.{trace.kind}",
        root,
        attributes=_trace_attributes(trace),
        status=status,
        start_time=_nanoseconds(trace.began),
        end_time=_nanoseconds(trace.began, trace.seconds),
        **common,  # type: ignore[arg-type]
    )
    for number, span in enumerate(trace.spans, 1):
        yield ReadableSpan(
            span.phase,
            context(number),
            parent=root,
            attributes=_span_attributes(span),
            start_time=_nanoseconds(trace.began, span.begin),
            end_time=_nanoseconds(trace.began, span.end),
            **common,  # type: ignore[arg-type]
        )


def _trace_attributes(trace: Trace) -> Mapping[str, str | int]:
    texts = {
        "model": trace.model,
        "kind": trace.kind,
        "outcome": trace.outcome,
        "version": trace.version,
        "storage.kind": trace.storage_kind,
        "device": trace.device,
    }
    counts = {
        "size_bytes": trace.size_bytes,
        "fetched_bytes": trace.fetched_bytes,
        "host_reused_bytes": trace.host_reused_bytes,
        "device_copied_bytes": trace.device_copied_bytes,
        "device_reused_bytes": trace.device_reused_bytes,
    }
    return {f"hoist.{key}": _valid(text) for key, text in texts.items() if text} | {
        f"hoist.{key}": count for key, count in counts.items()
    }


def _span_attributes(span: Span) -> Mapping[str, str | int | float]:
    found: dict[str, str | int | float] = {"hoist.phase": span.phase, "hoist.bytes": span.bytes}
    if span.bytes and span.seconds > 0:
        found["hoist.bytes_per_second"] = span.bytes / span.seconds
    return found | ({"hoist.note": _valid(span.note)} if span.note else {})


def _valid(text: str) -> str:
    """Text that protobuf takes: a file name that is no UTF-8 is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _nanoseconds(began: float, after: float = 0.0) -> int:
    """In whole numbers, as a double cannot tell two nanoseconds of today apart: a phase keeps its length."""
    return min(round(began * _NANOSECONDS) + round(after * _NANOSECONDS), _LAST_NANOSECOND)


def _span_id(trace: str, number: int) -> int:
    """Always the same for one span of one trace, and never 0."""
    return int.from_bytes(blake2b(f"{trace}/{number}".encode(), digest_size=8).digest(), "big") or 1


def _exporter(endpoint: str | None, seconds: float | None = None) -> OTLPSpanExporter:
    """What sends; without an endpoint as the SDK's variables say."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk import trace  # noqa: F401 both packages are needed
    except ModuleNotFoundError:
        raise LocalError("traces cannot be sent without OpenTelemetry: pip install 'hoist[otel]'") from None
    return OTLPSpanExporter(endpoint, timeout=seconds)


def _endpoint(url: str) -> str:
    """Where traces go at a collector: `/v1/traces` below its address, unless that is said."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise UsageError("a collector's address is wanted, as http://127.0.0.1:4318: traces go there over HTTP")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"the address of the collector {parts.hostname} is all that is wanted: what else it shall be told, "
            "such as a token, goes into OTEL_EXPORTER_OTLP_HEADERS"
        )
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_PATH) else path + _PATH).geturl()


def _resource() -> Resource:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    made = Resource.create()
    # The SDK's own word for a service that nobody has named.
    unnamed = str(made.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    return made.merge(Resource({SERVICE_NAME: SCOPE})) if unnamed else made
