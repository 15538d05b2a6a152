"""Metrics, the OpenAPI document, and what errors become."""

from __future__ import annotations

from openapi_spec_validator import validate

from hoist.errors import (
    Busy,
    DamagedBlock,
    DeadlineExceeded,
    HandlerError,
    ModelUnknown,
    StorageUnavailable,
    UsageError,
    VersionNotFound,
)
from hoist.function.service import openapi
from hoist.function.service.answers import error_response, refusal_of
from hoist.function.service.metrics import Metrics
from hoist.function.trace import Span, Trace, new_trace_id
from prometheus import samples


def test_metrics_are_what_prometheus_reads() -> None:
    metrics = Metrics()
    assert samples(metrics.text())["hoist_function_fetched_bytes_total", ()] == 0
    metrics.answered("a", 200, 0.02)
    metrics.answered("a", 200, 400.0)
    metrics.answered('we"ird\\\n', 500, 0.005)
    metrics.handled("a", 1.5)
    spans = (Span("fetch", 0.0, 2.0, 100), Span("transfer", 1.0, 2.5))
    metrics.loaded(Trace(new_trace_id(), "a", "switch", 1.0, spans, fetched_bytes=100, host_reused_bytes=11))
    metrics.gauges(lambda: [("running", 3.0)])
    found = samples(metrics.text())
    assert found["hoist_function_requests_total", (("model", "a"), ("status", "200"))] == 2
    assert found["hoist_function_requests_total", (("model", 'we"ird\\\n'), ("status", "500"))] == 1
    buckets = [value for (name, _), value in found.items() if name == "hoist_function_request_seconds_bucket"]
    assert buckets[0] == 1  # a bound is in its bucket
    assert buckets[-1] == 3
    assert buckets == sorted(buckets)
    assert found["hoist_function_request_seconds_count", ()] == 3
    assert found["hoist_function_load_seconds_total", (("phase", "fetch"),)] == 2
    assert found["hoist_function_fetched_bytes_total", ()] == 100
    assert found["hoist_function_host_reused_bytes_total", ()] == 11
    loads = found["hoist_function_loads_total", (("kind", "switch"), ("model", "a"), ("outcome", "done"))]
    assert (loads, found["hoist_function_running", ()]) == (1, 3)


def test_the_openapi_document_is_one_and_its_page_shows_each_route() -> None:
    document = openapi.document()
    validate(document)
    page = openapi.page()
    assert all(path in page for path in document["paths"])
    assert "http://" not in page.replace("http://HOST:PORT", "")


def test_each_error_has_its_status_and_no_secret() -> None:
    signed = "GET http://host/x?X-Amz-Signature=abc failed"
    for error, status, code in (
        (ModelUnknown("x"), 404, "unknown_model"),
        (Busy("x"), 429, "busy"),
        (DeadlineExceeded("x"), 503, "deadline"),
        (UsageError("x"), 400, "bad_request"),
        (StorageUnavailable(signed), 503, "storage_unavailable"),
        (VersionNotFound("x"), 500, "load_failed"),
        (DamagedBlock(signed), 500, "load_failed"),
        (HandlerError("gave a lock"), 500, "handler_error"),
    ):
        refusal = refusal_of(error, 7.0)
        assert (refusal.status, refusal.code) == (status, code)
        assert (refusal.retry_after is not None) == (status in (429, 503))
        assert "abc" not in refusal.message
    raised = HandlerError("raised ValueError: password=hunter2")
    raised.raised = "ValueError"
    assert refusal_of(raised).message == "the handler raised ValueError; the log says more"
    response = error_response(refusal_of(StorageUnavailable("x"), 6.2), "id-1")
    assert (response.headers["retry-after"], response.headers["x-request-id"]) == ("7", "id-1")
