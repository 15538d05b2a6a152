"""Traces: JSON both ways, what phases come to, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from trace_making import TRACES

from hoist.errors import InvalidFile
from hoist.function.trace import SCHEMA, Span, Trace, covered_seconds, new_trace_id

TRACE = Trace(
    new_trace_id(), "anything", "switch", 1_700_000_000, (Span("network", 0, 0.5), Span("fetch", 0.5, 2, 300))
)


@settings(deadline=None)
@given(TRACES)
def test_json_both_ways(trace: Trace) -> None:
    text = trace.to_json()
    again = Trace.from_json(text)
    assert again == trace
    assert again.to_json() == text
    assert "\n" not in text
    assert Trace.from_json(text.encode()) == trace


@settings(deadline=None)
@given(TRACES)
def test_no_phase_is_longer_than_the_trace_and_no_byte_is_lost(trace: Trace) -> None:
    assert sum(phase.bytes for phase in trace.phases) == sum(span.bytes for span in trace.spans)
    for phase in trace.phases:
        assert 0 <= phase.begin <= phase.end <= trace.seconds
        assert phase.seconds <= (phase.end - phase.begin) * (1 + 1e-9) + 1e-6


def test_whole_seconds_are_as_good_as_others() -> None:
    assert Trace.from_json(TRACE.to_json()).to_json() == TRACE.to_json()
    assert replace(TRACE, began=1_700_000_000.0) == TRACE
    assert '"began":1700000000.0' in TRACE.to_json()


def test_parts_of_a_phase_that_overlap_count_once() -> None:
    spans = (
        Span("fetch", 1, 3, 10, "a"),
        Span("transfer", 2, 5, 7),
        Span("fetch", 2, 4, 20, "b"),
        Span("fetch", 6, 7, 2, "a"),
    )
    assert covered_seconds(spans) == 5
    fetch, transfer = replace(TRACE, spans=spans).phases
    assert (fetch.name, fetch.begin, fetch.end, fetch.seconds, fetch.bytes) == ("fetch", 1, 7, 4, 32)
    assert fetch.notes == ("a", "b")
    assert fetch.bytes_per_second == 8
    assert transfer.bytes_per_second == pytest.approx(7 / 3)


def test_what_moved_nothing_has_no_bandwidth() -> None:
    network, _ = TRACE.phases
    assert network.bytes_per_second is None
    (at_once,) = replace(TRACE, spans=(Span("fetch", 1, 1, 10),)).phases
    assert at_once.bytes_per_second is None
    assert replace(TRACE, spans=()).seconds == 0


def test_what_a_later_hoist_adds_is_passed_over() -> None:
    document = TRACE.to_document()
    document["colour"] = "red"
    document["spans"][0]["colour"] = "blue"
    assert Trace.from_document(document) == TRACE


WITHOUT = object()


def changed(field: str, value: object, *, span: bool = False) -> Any:
    document = json.loads(TRACE.to_json())
    place = document["spans"][0] if span else document
    if value is WITHOUT:
        del place[field]
    else:
        place[field] = value
    return document


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "an object"),
        ({}, "an object"),
        (changed("schema", "hoist.trace/99"), f"not a trace of {SCHEMA}: its schema is 'hoist.trace/99'"),
        (changed("schema", WITHOUT), "schema"),
        (changed("id", WITHOUT), "id"),
        (changed("spans", WITHOUT), "'spans' is missing"),
        (changed("id", "xyz"), "hexadecimal"),
        (changed("id", "0" * 32), "hexadecimal"),
        (changed("id", 7), "id is no text"),
        (changed("kind", "walk"), "switch"),
        (changed("kind", []), "switch"),
        (changed("outcome", "perhaps"), "done"),
        (changed("began", "yesterday"), "began is no number"),
        (changed("began", True), "began is no number"),
        (changed("began", -1), "began is no time"),
        (changed("began", 10**400), "began is no time"),
        (changed("began", float("nan")), "began is no time"),
        (changed("model", 7), "model is no text"),
        (changed("size_bytes", -1), "size_bytes is no number of bytes"),
        (changed("fetched_bytes", 1.5), "fetched_bytes"),
        (changed("fetched_bytes", 2**60), "fetched_bytes"),
        (changed("spans", {}), "spans is no list"),
        (changed("spans", [7]), "a span is no object"),
        (changed("phase", "lunch", span=True), "there is no phase 'lunch'; there are queue"),
        (changed("phase", WITHOUT, span=True), "'phase' is missing"),
        (changed("begin", 9, span=True), "a network that ends before it begins"),
        (changed("end", float("inf"), span=True), "end is no time"),
        (changed("bytes", "many", span=True), "bytes is no number of bytes"),
        (changed("note", None, span=True), "note is no text"),
    ],
)
def test_what_is_no_trace_is_refused(document: object, said: str) -> None:
    with pytest.raises(InvalidFile, match="not a trace") as caught:
        Trace.from_document(document)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe\x00", "[" * 100_000, "7"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidFile, match="not a trace"):
        Trace.from_json(text)
