"""Counting what nginx says, in the form in which it says it."""

from __future__ import annotations

import socket
import time

from hoist.accelerator.metrics import LogSocket, Metrics


def test_lines_of_requests_slices_and_checks() -> None:
    metrics = Metrics(lambda: 3)
    for line in (
        "check 10.0.0.1 7 1 206 MISS 500 0",
        "get 10.0.0.1 7 1 206 MISS 8388900 8388608",
        # The second slice, and the request itself.
        "get 10.0.0.1 7 1 206 MISS 8388900 16777216",
        "get 10.0.0.1 7 1 206 - - 16777216",
        "check 10.0.0.2 8 1 206 HIT - 0",
        "get 10.0.0.2 8 1 206 HIT - 1000",
        "get 10.0.0.2 8 2 403 - - 146",
        "no line of ours",
    ):
        metrics.take(line)
    values = metrics.values()
    assert values['requests_total{status="206"}'] == 2 and values['requests_total{status="403"}'] == 1
    assert values['slices_total{from="hit"}'] == 1 and values['slices_total{from="miss"}'] == 2
    assert values['checks_total{from="hit"}'] == 1 and values['checks_total{from="origin"}'] == 1
    assert values["client_bytes_total"] == 16777216 + 1000 + 146
    assert values["origin_bytes_total"] == 500 + 2 * 8388900
    assert values["refusals_total"] == 1 and values["clients"] == 2 and values["connections"] == 3
    assert abs(values["hit_ratio"] - 1 / 3) < 1e-9
    text = metrics.text()
    assert 'hoist_accelerator_slices_total{from="miss"} 2' in text
    assert "# TYPE hoist_accelerator_hit_ratio gauge" in text


def test_only_who_knows_the_word_is_heard_and_no_signature_is_shown() -> None:
    said: list[str] = []
    metrics = Metrics()
    log = LogSocket(metrics, said.append)
    line = "get 10.0.0.1 7 1 206 HIT - 1000"
    error = 'upstream timed out, request: "GET /b/k?X-Amz-Signature=secret HTTP/1.1", upstream: "http://h/b/k?x=secret"'
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sends:
        for head in ("<190>Nov 25 20:00:00 ahoist", f"<190>Nov 25 20:00:00 a{log.word}"):
            sends.sendto(f"{head}: {line}".encode(), ("127.0.0.1", log.port))
        for _ in range(30):
            sends.sendto(f"<187>Nov 25 20:00:00 e{log.word}: {error}".encode(), ("127.0.0.1", log.port))
    until = time.monotonic() + 10
    while len(said) < 11 and time.monotonic() < until:
        time.sleep(0.01)
    log.close()
    assert metrics.values()["client_bytes_total"] == 1000
    assert len(said) == 11 and "is not shown" in said[-1]
    assert "/b/k?..." in said[0] and "secret" not in "".join(said)
