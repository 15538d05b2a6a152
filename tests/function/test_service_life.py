"""How a served function starts and ends, and who may ask it."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from serving import Answer, Served, publish_models, wait_until

from zygote import Zygote

TOKEN, OLD_TOKEN = "a-new-token-of-some-length", "an-old-token-of-some-length"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def models(home: Path) -> list[str]:
    return ["--models", *(f"{name}={place}" for name, place in publish_models(home, {"a": 2, "b": 1}).items())]


class Asking:
    """A request in a thread of its own."""

    def __init__(self, served: Served, do: str, **order: Any) -> None:
        self.answers: list[Answer] = []
        self._thread = Thread(target=lambda: self.answers.append(served.invoke(do, **order)), daemon=True)
        self._thread.start()

    def answer(self) -> Answer:
        self._thread.join(30)
        return self.answers[0]


def test_it_listens_before_it_imports_and_what_comes_early_waits(zygote: Zygote, home: Path, models: list[str]) -> None:
    with Served(zygote, home, "Ordered", *models, SLOW_IMPORT="1") as served:
        assert served.get("/healthz").status == 200
        assert (served.get("/readyz").status, served.get("/readyz").json["reason"]) == (503, "starting")
        assert [each["state"] for each in served.get("/models").json["models"]] == ["storage", "storage"]
        late = served.post("/invoke", {}, x_hoist_deadline="0.1")
        assert (late.status, late.code) == (503, "deadline")
        early = Asking(served, "echo", model="b")
        initialized = Thread(target=lambda: served.post("/initialize"), daemon=True)
        initialized.start()
        served.note("import")
        assert early.answer().json["model"] == "b"
        initialized.join(20)
        assert not initialized.is_alive()
        served.ready()


def test_a_first_model_that_cannot_be_loaded_is_tried_again(zygote: Zygote, home: Path, models: list[str]) -> None:
    (home / "notes").mkdir()
    (home / "notes" / "a.broken").touch()
    with Served(zygote, home, "Ordered", *models) as served:
        answer = served.post("/initialize")
        assert (answer.status, answer.code) == (500, "handler_error")
        assert b"hunter2" not in answer.body
        assert served.get("/readyz").json["reason"] == "loading"
        assert "RuntimeError" in served.log
        assert served.invoke("echo", model="a").code == "handler_error"
        assert served.invoke("echo", model="b").status == 200  # the other one serves
        (home / "notes" / "a.broken").unlink()
        assert served.post("/initialize").status == 200
        assert served.get("/readyz").status == 200


def test_without_preload_it_is_ready_at_once(zygote: Zygote, home: Path, models: list[str]) -> None:
    with Served(zygote, home, "handle", *models, "--no-preload") as served:
        served.ready()
        assert served.get("/trace").code == "no_trace"
        assert served.post("/initialize").status == 200
        assert served.post("/invoke").json == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_end(zygote: Zygote, home: Path, models: list[str], number: int) -> None:
    with Served(zygote, home, "Ordered", *models) as served:
        served.ready()
        idle = served.connect()
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        running, waiting = Asking(served, "wait", **{"for": "end"}), Asking(served, "echo", model="b")
        served.until("end.begun")

        def go_on_once_it_takes_no_more() -> None:
            wait_until(lambda: refused(served.port), "closed")
            served.note("end")

        Thread(target=go_on_once_it_takes_no_more, daemon=True).start()
        end = served.end(number)
        assert (end.code, running.answer().status, waiting.answer().status) == (0, 200, 200)
        assert (home / "notes" / "closed").exists()
        idle.close()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_hangs_at_the_end_is_left_behind(zygote: Zygote, home: Path, models: list[str]) -> None:
    with Served(zygote, home, "Ordered", *models, "--drain", "0.3") as served:
        served.ready()
        hangs = Asking(served, "hang", **{"for": "never"})
        served.until("never.begun")
        assert served.end().code == 0
        assert (hangs.answer().status, hangs.answer().code) == (503, "ending")


def test_pre_stop_waits_for_running_requests_and_takes_no_new_ones_in(
    zygote: Zygote, home: Path, models: list[str]
) -> None:
    with Served(zygote, home, "Ordered", *models) as served:
        served.ready()
        running = Asking(served, "wait", **{"for": "stop"})
        served.until("stop.begun")
        stopping: list[Answer] = []
        thread = Thread(target=lambda: stopping.append(served.get("/pre-stop")), daemon=True)
        thread.start()
        wait_until(lambda: served.get("/readyz").json["reason"] == "ending", "ending")
        assert not stopping
        served.note("stop")
        thread.join(20)
        assert (stopping[0].status, stopping[0].json, running.answer().status) == (200, {"drained": True}, 200)
        assert served.end().code == 0


def test_only_who_has_a_token_is_answered(zygote: Zygote, home: Path, models: list[str]) -> None:
    (home / "tokens").write_text(f"{OLD_TOKEN}\n{TOKEN}\n")
    with Served(
        zygote, home, "Ordered", *models, "--token-file", str(home / "tokens"), FC_SERVER_PORT="9000"
    ) as served:
        served.ready()
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert served.get(path).status == 200
        assert served.post("/initialize").status == 200
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
            for path in ("/invoke", "/switch", "/prefetch", "/pre-stop"):
                answer = served.post(path, {"do": "echo"}, **given)
                assert (answer.status, answer.code) == (401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"
            for path in ("/models", "/metrics", "/trace", "/nowhere"):
                assert served.get(path, **given).status == 401
        for token in (TOKEN, OLD_TOKEN):
            answer = served.post("/invoke", {"do": "echo"}, authorization=f"Bearer {token}")
            assert answer.status == 200
            assert token not in answer.body.decode()
            assert served.get("/metrics", authorization=f"Bearer {token}").status == 200
        assert served.get("/pre-stop", x_fc_control_path="/pre-stop").status == 200
        ended = served.end()
        assert TOKEN not in ended.out + ended.error
        assert OLD_TOKEN not in ended.out + ended.error


@pytest.fixture
def asynchronous(zygote: Zygote, home: Path, models: list[str]) -> Iterator[Served]:
    with Served(zygote, home, "Asynchronous", *models, "--concurrency", "4") as served:
        yield served.ready()


def test_coroutines_share_a_loop_that_is_not_the_services(asynchronous: Served) -> None:
    served = asynchronous
    first, second = (Asking(served, "wait", **{"for": name}) for name in ("one", "two"))
    served.until("one.begun")
    served.until("two.begun")
    served.note("two", "one")
    assert (first.answer().status, second.answer().status) == (200, 200)
    late = served.post("/invoke", {"do": "wait", "for": "late"}, x_hoist_deadline="0.2")
    assert (late.status, late.code) == (504, "deadline")
    served.until("late.cancelled")
    assert served.invoke("exit").code == "handler_error"
    blocked = Asking(served, "block", **{"for": "block"})
    served.until("block.begun")
    began = time.monotonic()
    assert served.get("/healthz").status == 200
    assert time.monotonic() - began < 10
    served.note("block")
    assert blocked.answer().json == {"model": "a"}
    assert served.get("/readyz").status == 200
