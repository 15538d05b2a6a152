"""A served function, asked by real clients: what comes back, and what is said when nothing does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest
from openapi_spec_validator import validate
from serving import Served, answer_of, publish_models, wait_until, weights

from prometheus import samples
from zygote import Zygote

MODELS = {"anything": 3, "pastelmix": 2, "chat": 1}
LIMIT = 1 << 20
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def served(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    places = publish_models(home, MODELS)
    words = ["--models", *(f"{name}={place}" for name, place in places.items()), "--concurrency", "2"]
    words += ["--max-request", str(LIMIT), "--deadline", "20", "--trace-file", str(home / "traces.jsonl")]
    with Served(zygote, home, "Ordered", *words) as server:
        yield server.ready()


def sums(number: int, tensors: int) -> dict[str, float]:
    """What the handler shall find in the weights of the model of that number."""
    data = weights(number, {f"w{each}": 1000 for each in range(tensors)})
    floats = np.frombuffer(data[8 + int.from_bytes(data[:8], "little") :], np.float32).reshape(tensors, 1000)
    return {f"w{each}": float(floats[each].astype(np.float64).sum()) for each in range(tensors)}


def test_the_model_is_named_by_header_query_or_body_and_the_first_is_the_default(served: Served) -> None:
    echo = {"do": "echo"}
    for answer, name in (
        (served.post("/invoke", echo), "anything"),
        (served.post("/invoke", echo, x_hoist_model="pastelmix"), "pastelmix"),
        (served.post("/invoke", echo, serve_multiplexed_model_id="chat"), "chat"),
        (served.post("/invoke?model=pastelmix", echo), "pastelmix"),
        (served.post("/invoke", {**echo, "model": "chat"}), "chat"),
        (served.post("/invoke?model=pastelmix", {**echo, "model": "chat"}, x_hoist_model="anything"), "anything"),
    ):
        assert answer.status == 200, answer.body
        assert (answer.json["model"], answer.headers["x-hoist-model"]) == (name, name)


def test_the_handler_has_the_weights_of_the_model_that_was_asked_for(served: Served) -> None:
    for number, (name, tensors) in enumerate(MODELS.items()):
        found = served.invoke("echo", model=name).json["sums"]
        assert found == pytest.approx(sums(number, tensors), rel=1e-12, nan_ok=True)


def test_bodies_and_answers_are_bytes_or_json(served: Served) -> None:
    body = bytes(range(256)) * 1000
    answer = served.ask("POST", "/invoke", body, {"Content-Type": "application/octet-stream"})
    assert (answer.status, answer.json["size"], answer.headers["content-type"]) == (200, 256_000, "application/json")
    answer = served.invoke("bytes", times=4000)
    assert answer.body == bytes(range(256)) * 4000
    assert answer.headers["content-type"] == "application/octet-stream"
    answer = served.invoke("picture")
    assert (answer.status, answer.body) == (203, b"PNG")
    assert (answer.headers["content-type"], answer.headers["x-seed"]) == ("image/png", "7")
    assert answer.headers["content-length"] == "3"


def test_an_answer_says_whose_it_is_and_where_the_time_went(served: Served) -> None:
    answer = served.post("/invoke", {"do": "echo"}, x_request_id="mine-7")
    assert answer.headers["x-request-id"] == "mine-7"
    times = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    assert set(times) == {"wait", "handle"}
    assert all(float(value) >= 0 for value in times.values())
    assert served.post("/invoke", {"do": "echo"}, x_fc_request_id="fc-1").headers["x-request-id"] == "fc-1"
    assert served.post("/invoke", {}, x_request_id="two words").headers["x-request-id"] != "two words"


def test_a_model_that_is_none_is_refused_with_near_names(served: Served) -> None:
    for answer in (
        served.invoke("echo", model="anythin"),
        served.post("/switch", {"model": "anythin"}),
        served.post("/prefetch", {"model": "anythin"}),
    ):
        assert (answer.status, answer.code) == (404, "unknown_model")
        assert "anything" in answer.json["error"]["message"]


def test_a_handler_that_raises_is_told_of_in_the_log_only(served: Served) -> None:
    answer = served.post("/invoke", {"do": "raise"}, x_request_id="raises-1")
    assert (answer.status, answer.code) == (500, "handler_error")
    assert "ValueError" in answer.json["error"]["message"]
    assert b"Traceback" not in answer.body
    assert b"hunter2" not in answer.body
    log = served.log
    assert "raises-1" in log
    assert "served_handlers.py" in log[log.index("raises-1") :]
    assert served.invoke("echo").status == 200


def test_a_handler_may_blame_the_client(served: Served) -> None:
    answer = served.invoke("blame")
    assert (answer.status, answer.code) == (400, "bad_request")
    assert "steps is 1 to 100" in answer.json["error"]["message"]


def test_a_handler_that_wants_to_exit_ends_its_request_only(served: Served) -> None:
    assert served.invoke("exit").code == "handler_error"
    assert served.invoke("echo").status == 200


def test_garbage_is_refused_with_its_type(served: Served) -> None:
    answer = served.invoke("garbage")
    assert (answer.status, answer.code) == (500, "handler_error")
    assert "lock" in answer.json["error"]["message"]
    assert served.invoke("garbage", nan=True).code == "handler_error"


def test_requests_that_make_no_sense(served: Served) -> None:
    for body, headers in (
        (b'{"model": "chat"', {}),
        (b'{"model": 7}', {}),
        (b"{}", {"X-Hoist-Deadline": "soon"}),
        (b"{}", {"X-Hoist-Deadline": "-1"}),
        (b"{}", {"X-Hoist-Deadline": "nan"}),
    ):
        answer = served.ask("POST", "/invoke", body, {"Content-Type": "application/json", **headers})
        assert (answer.status, answer.code) == (400, "bad_request"), body
    assert served.ask("POST", "/switch", b"[]").code == "bad_request"
    assert served.post("/prefetch", {"to": "moon"}).code == "bad_request"
    assert (served.get("/nowhere").status, served.get("/nowhere").code) == (404, "no_route")
    assert (served.get("/invoke").status, served.get("/invoke").headers["allow"]) == (405, "POST")


def test_a_body_that_is_too_large_is_refused(served: Served) -> None:
    kind = {"Content-Type": "application/octet-stream"}
    assert served.ask("POST", "/invoke", bytes(LIMIT), kind).json["size"] == LIMIT
    answer = served.ask("POST", "/invoke", bytes(LIMIT + 1), kind)
    assert (answer.status, answer.code, answer.headers["connection"]) == (413, "too_large", "close")
    connection = served.connect()
    pieces = iter([bytes(LIMIT // 2)] * 3)
    connection.request("POST", "/invoke", pieces, {**kind, "Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert answer_of(connection).code == "too_large"
    connection.close()
    # A client that asks before it sends is told before it does.
    with socket.create_connection(("127.0.0.1", served.port), 20) as plain:
        plain.sendall(b"POST /invoke HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n")
        assert plain.recv(1 << 12).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_come_is_not_waited_for(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 20) as plain:
        plain.sendall(b"POST /invoke HTTP/1.1\r\nHost: h\r\nX-Hoist-Deadline: 0.1\r\nContent-Length: 10\r\n\r\nabc")
        assert plain.recv(1 << 12).startswith(b"HTTP/1.1 408 ")


def test_a_handler_that_hangs_is_waited_for_until_the_deadline_and_keeps_its_turn(served: Served) -> None:
    late = {"x_hoist_deadline": "0.2"}
    answer = served.post("/invoke", {"do": "hang", "for": "first"}, **late)
    assert (answer.status, answer.code) == (504, "deadline")
    served.until("first.begun")
    assert served.get("/readyz").status == 200
    assert served.invoke("echo").status == 200  # there is a second turn
    assert served.post("/invoke", {"do": "hang", "for": "second"}, **late).status == 504
    found = served.get("/readyz")
    assert (found.status, found.json["reason"]) == (503, "stuck")
    assert samples(served.get("/metrics").body.decode())["hoist_function_abandoned", ()] == 2
    answer = served.post("/invoke", {"do": "echo"}, **late)
    assert (answer.status, answer.code) == (503, "deadline")
    assert int(answer.headers["retry-after"]) >= 1
    assert served.get("/healthz").json == {"status": "ok"}
    # What hangs still has its model: another one of them is not in its way.
    served.note("first", "second")
    served.ready()
    assert served.invoke("echo").status == 200
    assert samples(served.get("/metrics").body.decode())["hoist_function_abandoned", ()] == 0


def test_a_handler_is_told_when_its_client_has_gone(served: Served) -> None:
    connection = served.connect()
    connection.request("POST", "/invoke", json.dumps({"do": "wait", "for": "gone"}), JSON)
    served.until("gone.begun")
    connection.close()
    served.until("gone.cancelled")
    wait_until(lambda: served.get("/readyz").status == 200, "ready")
    key = "hoist_function_requests_total", (("model", "anything"), ("status", "499"))
    wait_until(lambda: samples(served.get("/metrics").body.decode()).get(key, 0) >= 1, "counted")


def test_switch_prefetch_and_models_say_where_each_model_is(served: Served) -> None:
    answer = served.post("/switch", {"model": "pastelmix"})
    assert (answer.status, answer.json["name"], answer.json["state"]) == (200, "pastelmix", "device")
    assert served.post("/prefetch", {"model": "chat"}).status == 202
    wait_until(lambda: served.get("/models").json["models"][2]["state"] in ("host", "device"), "in memory")
    found = served.get("/models").json
    assert [each["name"] for each in found["models"]] == list(MODELS)
    assert found["usage"]["host_bytes"] > 0


def test_traces_are_kept_and_written(served: Served, zygote: Zygote) -> None:
    served.post("/switch", {"model": "pastelmix"})
    last = served.get("/trace").json
    assert last["schema"] == "hoist.trace/1"
    many = served.get("/trace?last=50").json
    assert many[0] == last
    assert [each["kind"] for each in many].count("start") == 1
    assert {each["model"] for each in many} <= set(MODELS)
    assert served.get(f"/trace?id={many[-1]['id']}").json == many[-1]
    page = served.get("/trace?format=html&last=3")
    assert page.headers["content-type"].startswith("text/html")
    assert b"pastelmix" in page.body
    shown = zygote.run(served.notes.parent, {}, "trace", f"http://127.0.0.1:{served.port}")
    assert (shown.code, last["model"] in shown.out) == (0, True), shown.error
    assert served.get("/trace?id=0").code == "no_trace"
    assert served.get("/trace?last=x").code == "bad_request"
    assert served.started
    lines = (served.notes.parent / "traces.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines][-len(many) :] == [each["id"] for each in many[::-1]]


def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    served.invoke("echo", model="chat")
    answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.body.decode())
    assert found["hoist_function_requests_total", (("model", "chat"), ("status", "200"))] >= 1
    assert found["hoist_function_ready", ()] == 1
    assert found["hoist_function_host_bytes", ()] > 0
    assert sum(value for (name, _), value in found.items() if name == "hoist_function_model_state") == len(MODELS)


def test_the_document_says_what_there_is(served: Served) -> None:
    document = served.get("/openapi.json").json
    validate(document)
    for path, methods in document["paths"].items():
        allowed = served.ask("DELETE", path).headers["allow"]
        assert set(allowed.lower().split(", ")) - {"head"} == set(methods), path
    assert served.get("/docs").headers["content-type"].startswith("text/html")


def test_one_connection_serves_many_requests(served: Served) -> None:
    connection = served.connect()
    for number in range(5):
        connection.request("POST", "/invoke", json.dumps({"do": "blame" if number % 2 else "echo"}), JSON)
        assert answer_of(connection).status == (400 if number % 2 else 200)
    connection.close()


def test_health_is_answered_while_everything_else_waits(served: Served) -> None:
    connections = [served.connect() for _ in range(20)]
    for connection in connections:
        connection.request("POST", "/invoke", json.dumps({"do": "wait", "for": "all"}), JSON)
    served.until("all.begun")
    began = time.monotonic()
    assert served.get("/healthz").status == 200
    assert time.monotonic() - began < 10
    served.note("all")
    assert [answer_of(connection).status for connection in connections] == [200] * 20
    for connection in connections:
        connection.close()
