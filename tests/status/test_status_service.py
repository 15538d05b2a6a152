"""The status over HTTP: what each path answers, what is refused, and that nobody can keep it from others."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping

import pytest

from hoist.errors import InvalidConfig, LocalError
from hoist.expose import CONTENT_TYPE, exposition
from hoist.status.service import StatusService, parse_listen
from prometheus import samples

ABOUT = {"storage_up": ("gauge", "whether it answers")}


class Known:
    """A provider that knows one thing."""

    def __init__(self) -> None:
        self.reason = ""
        self.document: Mapping[str, object] = {"storages": ["eu"]}

    def status(self) -> Mapping[str, object]:
        return self.document

    def metrics(self) -> str:
        return exposition("hoist", ABOUT, {'storage_up{storage="eu"}': 1})

    def unhealthy(self) -> str:
        return self.reason


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def service(known: Known) -> Iterator[StatusService]:
    with StatusService("127.0.0.1:0", known) as service:
        yield service


def ask(service: StatusService, path: str, method: str = "GET") -> tuple[int, Mapping[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_each_path(service: StatusService, known: Known) -> None:
    code, headers, body = ask(service, "/status?since=yesterday")
    assert (code, headers["Content-Type"], json.loads(body)) == (200, "application/json", {"storages": ["eu"]})
    code, headers, body = ask(service, "/metrics")
    assert (code, headers["Content-Type"]) == (200, CONTENT_TYPE)
    assert samples(body) == {("hoist_storage_up", (("storage", "eu"),)): 1}
    assert (ask(service, "/health")[0], json.loads(ask(service, "/health")[2])) == (200, {"status": "ok"})
    known.reason = "nothing was looked at for 5 min"
    assert (ask(service, "/health")[0], json.loads(ask(service, "/health")[2])) == (503, {"status": known.reason})
    assert ask(service, "/")[2].split() == ["/status", "/metrics", "/health"]
    assert ask(service, "/etc/passwd")[0] == 404
    assert ask(service, "/status", "HEAD")[2] == ""


def test_what_it_does_not_take(service: StatusService) -> None:
    for method in ("POST", "PUT", "DELETE"):
        code, headers, body = ask(service, "/status", method)
        assert (code, headers["Allow"], "only GET" in json.loads(body)["error"]) == (405, "GET, HEAD", True)
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as raw:
        raw.sendall(b"\x16\x03\x01 no request\r\n\r\n")
        assert b"no request that is understood" in raw.recv(4096)
    assert ask(service, "/health")[0] == 200


def test_a_bug_of_the_provider_is_500_and_says_nothing_of_it(service: StatusService, known: Known) -> None:
    known.document = {"secret": float("nan")}
    code, _, body = ask(service, "/status")
    assert (code, "secret" in body, "nan" in body.lower()) == (500, False, False)
    assert ask(service, "/metrics")[0] == 200


def test_one_connection_serves_many_scrapes_and_silent_clients_keep_nobody_out(service: StatusService) -> None:
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(20)]
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    for _ in range(5):
        connection.request("GET", "/metrics")
        assert connection.getresponse().read()
    connection.close()
    for each in silent:
        each.close()


def test_too_many_clients_are_shown_the_door(service: StatusService) -> None:
    silent = [socket.create_connection(("127.0.0.1", service.port), timeout=10) for _ in range(40)]
    # Those that it has no room for are closed at once, the others are waited for.
    assert silent[39].recv(1) == b""
    for each in silent:
        each.close()


def test_addresses(known: Known) -> None:
    assert parse_listen("*:9464") == ("", 9464)
    assert parse_listen("[::1]:0") == ("::1", 0)
    for text in ("9464", "127.0.0.1", "127.0.0.1:65536", "a b:1", "127.0.0.1:", ":1", "http://x:1"):
        with pytest.raises(InvalidConfig, match="HOST:PORT"):
            StatusService(text, known)
    with StatusService("127.0.0.1:0", known) as first:
        assert first.url == f"http://127.0.0.1:{first.port}"
        taken = StatusService(f"127.0.0.1:{first.port}", known)
        with pytest.raises(LocalError, match=f"127.0.0.1:{first.port}: Address already in use"):
            taken.start()
        taken.stop()
    with pytest.raises(LocalError, match="cannot be served"):
        StatusService("no-such-host.invalid:0", known).start()


def test_it_can_be_started_again_at_its_port(known: Known) -> None:
    service = StatusService("127.0.0.1:0", known)
    service.start()
    port = service.port
    assert ask(service, "/health")[0] == 200
    service.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(service, "/health")
    service.start()
    assert (service.port, ask(service, "/health")[0]) == (port, 200)
    service.stop()
