"""The range client against servers of every manner: the right bytes or the right error, always."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from range_server import DATA, SECRET, Server

from hoist.errors import Damaged, FileNotFound, HoistError, PermissionDenied, StorageUnavailable
from hoist.storage.answers import Broken, ServerFailed
from hoist.storage.patience import Patience
from hoist.storage.ranges import RangeClient

BEGIN, END = 1_234_567, 1_300_001
READ_SECONDS = 0.3
RIGHT = ["partial", "whole", "said-200", "wider", "longer-than-said", "chunked", "chunked-part", "until-close"]
RIGHT += ["leaves", "says-close"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server().serving() as running:
        yield running


@pytest.fixture
def client() -> Iterator[RangeClient]:
    # No second requests: connections are counted here.
    made = RangeClient(read_seconds=READ_SECONDS, patience=Patience(free=0, every=1 << 30))
    yield made
    made.close()


Read = Callable[..., bytes]


@pytest.fixture
def read(server: Server, client: RangeClient) -> Read:
    def get(manner: str, begin: int = BEGIN, end: int = END) -> bytes:
        whole = bytearray(b"\xa5" * (end - begin + 20))
        try:
            client.read_into(server.url(manner), begin, memoryview(whole)[10:-10], "the object")
        finally:
            assert whole[:10] == whole[-10:] == b"\xa5" * 10
        return bytes(whole[10:-10])

    return get


@pytest.mark.parametrize(
    "manner",
    [
        "partial",
        "whole",
        "said-200",
        "wider",
        "chunked",
        "chunked-part",
        "until-close",
        "leaves",
        "says-close",
        "longer-than-said",
    ],
)
def test_right_bytes(read: Read, manner: str) -> None:
    for _ in range(3):
        assert read(manner) == DATA[BEGIN:END]
    assert read("partial", 0, 1) == DATA[:1]


@pytest.mark.parametrize("manner", ["partial", "whole", "said-200", "chunked", "until-close"])
def test_first_and_last_bytes(read: Read, manner: str) -> None:
    assert read(manner, 0, 1) == DATA[:1]
    assert read(manner, len(DATA) - 1, len(DATA)) == DATA[-1:]
    assert read(manner, 0, len(DATA)) == DATA


@pytest.mark.parametrize(
    ("manner", "error"),
    [
        ("other-range", Damaged),
        ("narrower", Damaged),
        ("smaller-object", Damaged),
        ("416", Damaged),
        ("unsaid-206", StorageUnavailable),
        ("nonsense-range", StorageUnavailable),
        ("short", Broken),
        ("short-whole", Broken),
        ("chunked-short", Broken),
        ("stalled", StorageUnavailable),
        ("silent", StorageUnavailable),
        ("reset", Broken),
        ("reset-at-once", StorageUnavailable),
        ("not-http", StorageUnavailable),
        ("404", FileNotFound),
        ("401", PermissionDenied),
        ("403", PermissionDenied),
        ("301", PermissionDenied),
        ("307", PermissionDenied),
        ("408", StorageUnavailable),
        ("429", StorageUnavailable),
        ("500", ServerFailed),
        ("503", StorageUnavailable),
        ("504", StorageUnavailable),
        ("418", HoistError),
        ("204", HoistError),
    ],
)
def test_right_error(read: Read, manner: str, error: type[HoistError]) -> None:
    read("partial")
    for _ in range(2):
        with pytest.raises(HoistError) as caught:
            read(manner)
        assert type(caught.value) is error
        assert "the object" in str(caught.value)
        assert "Signature" not in str(caught.value)
        assert caught.value.__cause__ is None
    # What a failed read leaves behind must not spoil the next one.
    assert read("partial") == DATA[BEGIN:END]


def test_the_stores_own_reason_is_told(read: Read) -> None:
    with pytest.raises(StorageUnavailable, match="503 SomeReason"):
        read("503")


def test_past_the_end(read: Read) -> None:
    for begin, end in ((len(DATA) - 1, len(DATA) + 1), (len(DATA), len(DATA) + 1), (0, len(DATA) + 1)):
        for manner in ("partial", "whole"):
            with pytest.raises(Damaged):
                read(manner, begin, end)
    with pytest.raises(StorageUnavailable):
        read("until-close", len(DATA) - 1, len(DATA) + 1)


def test_empty_range_asks_nothing(server: Server, client: RangeClient) -> None:
    before = len(server.requests)
    client.read_into(server.url("404"), 5, memoryview(bytearray()), "the object")
    assert len(server.requests) == before


def test_connection_is_used_again(server: Server, read: Read) -> None:
    before = server.connections
    for manner in ("partial", "said-200", "chunked-part", "partial", "partial"):
        read(manner)
    assert server.connections == before + 1


def test_connection_whose_body_was_not_read_is_not_used_again(server: Server, read: Read) -> None:
    for manner in ("whole", "wider", "longer-than-said", "says-close"):
        before = server.connections
        read(manner)
        assert read("partial") == DATA[BEGIN:END]
        assert server.connections == before + 2, manner
        read("says-close")


def test_connections_that_the_server_closed_meanwhile(server: Server, read: Read) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: read("leaves"), range(12)))
    before = server.connections
    assert read("partial") == DATA[BEGIN:END]
    assert server.connections == before + 1


def test_a_silent_server_is_waited_for_once(server: Server, read: Read) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: read("partial"), range(24)))
    before = len(server.requests)
    with pytest.raises(StorageUnavailable, match="timed out"):
        read("silent")
    assert len(server.requests) == before + 1


def test_threads_share_the_pool(server: Server, read: Read) -> None:
    before = server.connections
    spans = [(at, min(at + 50_000, len(DATA))) for at in range(0, len(DATA), 50_000)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda span: read("partial", *span), spans))
    assert b"".join(got) == DATA
    assert server.connections - before <= 8


def test_nobody_listens(client: RangeClient) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/x?{SECRET}"
        with pytest.raises(StorageUnavailable, match="refused") as caught:
            client.read_into(url, 0, memoryview(bytearray(1)), "the object")
    assert "Signature" not in str(caught.value)


def test_unknown_host_and_wrong_tls(server: Server, client: RangeClient, tmp_path: Path) -> None:
    buffer = memoryview(bytearray(1))
    with pytest.raises(StorageUnavailable):
        client.read_into(f"http://nowhere.invalid/x?{SECRET}", 0, buffer, "the object")
    with pytest.raises(StorageUnavailable):
        client.read_into(server.url("partial").replace("http:", "https:"), 0, buffer, "the object")


def test_answers_that_the_server_holds_back_are_counted(client: RangeClient, read: Read) -> None:
    assert read("partial") == read("not-held-back") == DATA[BEGIN:END]
    assert client.throttled == 0
    assert read("held-back") == DATA[BEGIN:END]
    assert client.throttled == 1
