"""Traces for tests: what hypothesis makes, and one of each sort."""

from __future__ import annotations

from hypothesis import strategies as st

from hoist.function.trace import KINDS, OUTCOMES, PHASES, Span, Trace

GIB = 1 << 30
SECONDS = st.floats(0, 1e9, allow_nan=False)
BYTES = st.integers(0, 2**53)
SPANS = st.builds(
    lambda phase, begin, seconds, size, note: Span(phase, begin, begin + seconds, size, note),
    st.sampled_from(PHASES),
    SECONDS,
    SECONDS,
    BYTES,
    st.text(max_size=8),
)
TRACES = st.builds(
    Trace,
    id=st.uuids(version=4).map(lambda each: each.hex),
    model=st.text(max_size=8),
    kind=st.sampled_from(KINDS),
    began=SECONDS,
    spans=st.lists(SPANS, max_size=6).map(tuple),
    outcome=st.sampled_from(OUTCOMES),
    error=st.text(max_size=8),
    version=st.text(max_size=8),
    storage_kind=st.sampled_from(["", "image", "nas", "oss", "accl"]),
    device=st.sampled_from(["cpu", "cuda", "cuda:1"]),
    size_bytes=BYTES,
    fetched_bytes=BYTES,
    host_reused_bytes=BYTES,
    device_copied_bytes=BYTES,
    device_reused_bytes=BYTES,
)

START = Trace(
    "a" * 32,
    "anything",
    "start",
    1_795_000_000,
    (
        Span("import", 0, 1.5),
        Span("network", 1.5, 1.75),
        Span("fetch", 1.75, 5.75, 2 * GIB, "verified as it arrives"),
        Span("transfer", 2, 6, 2 * GIB),
        Span("warmup", 6.5, 8),
    ),
    version="sha256:" + "48754fe1690e" * 5 + "aaaa",
    storage_kind="nas",
    device="cuda:0",
    size_bytes=2 * GIB,
    fetched_bytes=2 * GIB,
    device_copied_bytes=2 * GIB,
)
SWITCH = Trace(
    "b" * 32,
    "counterfeit",
    "switch",
    1_795_000_060,
    (
        Span("queue", 0, 0.125),
        Span("network", 0.125, 0.25),
        Span("fetch", 0.25, 0.75, GIB // 2),
        Span("transfer", 0.25, 0.5, GIB // 4),
        Span("transfer", 0.625, 1, GIB // 4),
    ),
    storage_kind="nas",
    device="cuda:0",
    size_bytes=2 * GIB,
    fetched_bytes=GIB // 2,
    host_reused_bytes=2 * GIB - GIB // 2,
    device_copied_bytes=GIB // 2,
    device_reused_bytes=2 * GIB - GIB // 2,
)
FAILED = Trace(
    "c" * 32,
    "<b>evil</b>\x1b[31m",
    "prefetch",
    1_795_000_090,
    (Span("network", 0, 0.1), Span("fetch", 0.1, 30, 7 << 20, "half </td> of it")),
    outcome="failed",
    error="nas: the storage does not answer <script>alert(1)</script> \udcff",
    storage_kind="oss",
)
