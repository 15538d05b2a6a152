"""Traces for tests of the report: a start, and one that failed whose names are markup."""

from __future__ import annotations

from hoist.function.trace import Span, Trace

GIB = 1 << 30
TRACES = (
    Trace(
        "c" * 32,
        "<script>window.evil = 1</script>",
        "prefetch",
        1_795_000_090,
        (Span("network", 0, 0.1), Span("fetch", 0.1, 30, 7 << 20, "half </td> of it")),
        outcome="failed",
        error="nas: the storage does not answer </script><img src=x onerror='window.evil = 1'>",
        storage_kind="oss",
    ),
    Trace(
        "a" * 32,
        "anything",
        "start",
        1_795_000_120,
        (
            Span("import", 0, 1.5),
            Span("fetch", 1.75, 5.75, 2 * GIB),
            Span("transfer", 2, 6, 2 * GIB),
            Span("warmup", 6.5, 8),
        ),
        storage_kind="nas",
        device="cuda:0",
        size_bytes=2 * GIB,
        fetched_bytes=2 * GIB,
    ),
)
