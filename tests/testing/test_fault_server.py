"""The fault server: passes on what it should, and goes wrong exactly as planned."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from hoist.testing.servers import FaultServer, FolderOrigin, RcloneServer, Rule, ServerOrigin
from hoist.testing.servers.fault_kinds import (
    Flip,
    FlipSent,
    Long,
    OtherRange,
    Redirect,
    Refusal,
    Replaced,
    Reset,
    Short,
    Slow,
    Stalled,
    Trailing,
    Whole,
    WrongContentRange,
    WrongLength,
)
from makers import noise

DATA = noise(20_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/key with space").write_bytes(DATA)
    with FaultServer(FolderOrigin(tmp_path)) as found:
        yield found


def get(
    server: FaultServer, begin: int = 100, end: int = 1100, timeout: float = 10
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=timeout)
    try:
        connection.request("GET", "/b/key%20with%20space", headers={"Range": f"bytes={begin}-{end - 1}"})
        with connection.getresponse() as response:
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_without_a_plan_all_is_right(server: FaultServer) -> None:
    status, headers, body = get(server)
    assert (status, headers["content-range"], body) == (206, f"bytes 100-1099/{len(DATA)}", DATA[100:1100])
    assert [(seen.method, seen.path, seen.fault) for seen in server.seen] == [("GET", "/b/key with space", None)]


def test_what_each_fault_sends(server: FaultServer) -> None:
    right = DATA[100:1100]
    server.plan(Rule(Flip(at=9)))
    assert get(server)[2] == bytes([right[0], right[1] ^ 2]) + right[2:]
    server.plan(Rule(Flip()))
    assert sum(bin(a ^ b).count("1") for a, b in zip(get(server)[2], right, strict=True)) == 1
    server.plan(Rule(Replaced()))
    assert get(server)[2] not in (right, b"")
    server.plan(Rule(Long(7)))
    assert get(server)[2] == DATA[100:1107]
    server.plan(Rule(OtherRange(3)))
    assert get(server)[1:] == (get(server)[1], DATA[103:1103])
    assert get(server)[1]["content-range"].startswith("bytes 103-1102/")
    server.plan(Rule(OtherRange(3, said=False)))
    assert get(server)[1]["content-range"].startswith("bytes 100-1099/")
    assert get(server)[2] == DATA[103:1103]
    server.plan(Rule(Whole()))
    assert (get(server)[0], get(server)[2]) == (200, DATA)
    server.plan(Rule(WrongContentRange("bytes 1-2/3")))
    assert (get(server)[1]["content-range"], get(server)[2]) == ("bytes 1-2/3", right)
    server.plan(Rule(WrongLength(-10)))
    assert get(server)[2] == right[:-10]
    server.plan(Rule(Refusal(429, retry_after=3)))
    assert (get(server)[0], get(server)[1]["retry-after"]) == (429, "3")
    server.plan(Rule(Redirect("http://elsewhere/")))
    assert (get(server)[0], get(server)[1]["location"]) == (307, "http://elsewhere/")


def test_faults_of_the_connection(server: FaultServer) -> None:
    for short in (Short(0.5), WrongLength(10)):
        server.plan(Rule(short))
        with pytest.raises(http.client.IncompleteRead):
            get(server)
    server.plan(Rule(Reset("before")))
    with pytest.raises(ConnectionResetError):
        get(server)
    for moment in ("before", "headers", "body"):
        server.plan(Rule(Stalled(moment)))
        with pytest.raises(TimeoutError):
            get(server, timeout=0.2)
    server.plan(Rule(Slow(10_000)))
    began = time.monotonic()
    assert get(server)[2] == DATA[100:1100]
    assert time.monotonic() - began > 0.05
    server.plan(Rule(Trailing(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")))
    with socket.create_connection(("127.0.0.1", int(server.endpoint.rpartition(":")[2])), 10) as connection:
        connection.sendall(b"GET /b/key%20with%20space HTTP/1.1\r\nRange: bytes=0-9\r\n\r\n")
        received = b""
        while not received.endswith(b"bad"):
            received += connection.recv(4096)
    assert DATA[:10] + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad" in received


def test_rules_choose_their_requests(server: FaultServer) -> None:
    server.plan(Rule(Refusal(500), path="/b/*", first=1, count=2), Rule(Refusal(503), path="/other/*"))
    assert [get(server)[0] for _ in range(5)] == [206, 500, 500, 206, 206]
    assert server.struck() == 2
    server.plan(Rule(Refusal(500), chance=0.5), seed=3)
    first = [get(server)[0] for _ in range(20)]
    server.plan(Rule(Refusal(500), chance=0.5), seed=3)
    assert [get(server)[0] for _ in range(20)] == first
    assert {206, 500} == set(first)


def test_down_for_a_while(server: FaultServer) -> None:
    port = int(server.endpoint.rpartition(":")[2])
    with server.down(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    assert get(server)[0] == 206


def test_before_a_real_store(rclone_server: RcloneServer) -> None:
    rclone_server.create_bucket("behind-faults")
    with FaultServer(ServerOrigin(rclone_server.endpoint)) as server:
        store = S3Store(
            "behind-faults",
            endpoint=server.endpoint,
            region=rclone_server.region,
            access_key_id=rclone_server.access_key,
            secret_access_key=rclone_server.secret_key,
            client_options={"allow_http": True},
        )
        obstore.put(store, "a/b", DATA)
        obstore.put(store, "large", DATA * 600, chunk_size=5 << 20)
        assert obstore.get(store, "large").bytes().to_bytes() == DATA * 600
        assert [meta["path"] for page in obstore.list(store) for meta in page] == ["a/b", "large"]
        server.plan(Rule(FlipSent(at=0), method="PUT"))
        # Whether the store finds it out is the store's own; what is behind the fault is what was passed on.
        try:
            obstore.put(store, "flipped", b"abc", use_multipart=False)
            assert obstore.get(store, "flipped").bytes().to_bytes() == b"`bc"
        except obstore.exceptions.BaseError:
            assert server.struck()
