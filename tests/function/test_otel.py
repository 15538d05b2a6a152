"""Traces as OpenTelemetry's: sent over HTTP as protobuf, and parsed as a collector parses them."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from trace_making import FAILED, GIB, START, SWITCH, TRACES
from trace_servers import Collector

from hoist.config import sends_traces
from hoist.errors import LocalError, StorageUnavailable, UsageError
from hoist.function.otel import Exporter, send, to_spans
from hoist.function.trace import Trace


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "COMPRESSION"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


def spans_of(collector: Collector) -> list[Any]:
    return [
        span
        for request in collector.received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes(holder: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in holder.attributes}


def test_a_collector_gets_a_trace_with_its_phases_below() -> None:
    with Collector() as collector:
        send(collector.url, [SWITCH])
    root, *phases = spans_of(collector)
    assert root.name == "hoist.switch"
    assert root.trace_id.hex() == SWITCH.id
    assert root.parent_span_id == b""
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (1_795_000_060 * 10**9, 1_795_000_061 * 10**9)
    assert attributes(root) == {
        "hoist.model": "counterfeit",
        "hoist.kind": "switch",
        "hoist.outcome": "done",
        "hoist.storage.kind": "nas",
        "hoist.device": "cuda:0",
        "hoist.size_bytes": 2 * GIB,
        "hoist.fetched_bytes": GIB // 2,
        "hoist.host_reused_bytes": 2 * GIB - GIB // 2,
        "hoist.device_copied_bytes": GIB // 2,
        "hoist.device_reused_bytes": 2 * GIB - GIB // 2,
    }
    assert [span.name for span in phases] == ["queue", "network", "fetch", "transfer", "transfer"]
    assert all(span.parent_span_id == root.span_id and span.trace_id == root.trace_id for span in phases)
    assert len({span.span_id for span in (root, *phases)}) == 6
    fetch = phases[2]
    assert fetch.end_time_unix_nano - fetch.start_time_unix_nano == 500_000_000
    assert attributes(fetch) == {"hoist.phase": "fetch", "hoist.bytes": GIB // 2, "hoist.bytes_per_second": float(GIB)}
    (resource,) = collector.received[0].resource_spans
    assert attributes(resource.resource)["service.name"] == "hoist"
    assert resource.scope_spans[0].scope.name == "hoist"


def test_a_failed_one_is_an_error_that_says_why() -> None:
    with Collector() as collector:
        send(f"{collector.url}/v1/traces", [FAILED, START])
    roots = [span for span in spans_of(collector) if not span.parent_span_id]
    assert [span.status.code for span in roots] == [2, 1]
    assert "does not answer" in roots[0].status.message
    assert attributes(spans_of(collector)[2])["hoist.note"] == "half </td> of it"


def test_what_is_sent_again_is_the_same() -> None:
    with Collector() as collector:
        send(collector.url, [START])
        send(collector.url, [START])
    spans = spans_of(collector)
    assert spans[: len(spans) // 2] == spans[len(spans) // 2 :]


def test_the_variables_of_opentelemetry_say_where_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        assert not sends_traces()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=models")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "painter")
        assert sends_traces()
        exporter = Exporter()
        exporter(START)
        exporter(SWITCH)
        exporter.close()
    assert len(spans_of(collector)) == len(START.spans) + len(SWITCH.spans) + 2
    headers = collector.requests[0][2]
    assert (headers["x-tenant"], headers["content-encoding"]) == ("models", "gzip")
    assert attributes(collector.received[0].resource_spans[0].resource)["service.name"] == "painter"
    for name, value in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        with monkeypatch.context() as inner:
            inner.setenv(name, value)
            assert not sends_traces()


def test_a_collector_that_refuses_or_is_away_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with Collector(status=400) as collector:
        with pytest.raises(StorageUnavailable, match="did not take the traces"):
            send(collector.url, [START])
        assert len(collector.requests) == 1
    with pytest.raises(StorageUnavailable, match=collector.url):
        send(collector.url, [START], seconds=0.1)
    assert caplog.records == []


def test_nobody_waits_for_a_collector_that_is_away() -> None:
    with Collector() as collector:
        url = collector.url
    exporter = Exporter(url)
    exporter(START)
    exporter.close(seconds=0.1)
    exporter(SWITCH)


@pytest.mark.parametrize("url", ["http://user:hush@here:4318", "http://here:4318/?token=hush", "http://here/#hush"])
def test_an_address_holds_no_secret(url: str) -> None:
    for refused in (lambda: send(url, [START]), lambda: Exporter(url)):
        with pytest.raises(UsageError, match="OTEL_EXPORTER_OTLP_HEADERS") as caught:
            refused()
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "127.0.0.1:4318", "grpc://here:4317", "http://", "http://[::1", "http://h:x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="address is wanted"):
        send(url, [START])


@settings(deadline=None)
@given(TRACES)
def test_any_trace_can_be_sent(trace: Trace) -> None:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    odd = replace(trace, error=trace.error + "\udcff")
    encoded = encode_spans(list(to_spans(odd))).SerializeToString()
    assert len(encoded) > 0


def test_without_opentelemetry_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(LocalError, match=r"hoist\[otel\]"):
        send("http://127.0.0.1:4318", [START])
