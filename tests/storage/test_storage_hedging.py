"""Second requests: a request that is stuck does not hold up a read, and never spoils its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from range_server import DATA, Server

from hoist.errors import StorageUnavailable
from hoist.storage.patience import Patience
from hoist.storage.ranges import RangeClient

BEGIN, END = 1_234_567, 2_300_001
READ_SECONDS = 5.0
NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server().serving() as running:
        yield running


@pytest.fixture
def client() -> Iterator[RangeClient]:
    made = RangeClient(read_seconds=READ_SECONDS)
    for _ in range(8):
        made.patience.answered(0.01)
        made.patience.received(1_000_000, 0.01)
    yield made
    made.close()


def fetch(client: RangeClient, server: Server, manner: str) -> tuple[bytes, int]:
    """The bytes, and how many requests brought them."""
    buffer = bytearray(END - BEGIN)
    path = f"{manner}?{next(NUMBERS)}"
    before = len(server.requests)
    client.read_into(server.url(path), BEGIN, memoryview(buffer), "the object")
    return bytes(buffer), len(server.requests) - before


@pytest.mark.parametrize("manner", ["silent", "stalled", "slow"])
def test_stuck_request_is_sent_again_elsewhere(client: RangeClient, server: Server, manner: str) -> None:
    got, requests = fetch(client, server, f"{manner}/then/partial")
    assert got == DATA[BEGIN:END]
    assert requests == 2
    assert client.patience.hedges == 1
    # The connection that brought the bytes serves on; the stuck one is gone.
    assert fetch(client, server, "partial") == (DATA[BEGIN:END], 1)


@pytest.mark.parametrize("second", ["503", "404", "garbled", "other-range", "reset-at-once", "silent", "whole"])
def test_second_request_never_spoils_the_first(client: RangeClient, server: Server, second: str) -> None:
    got, requests = fetch(client, server, f"slow/then/{second}")
    assert requests >= 2
    # What the server garbles is for the digests to find; all else must be right.
    assert second == "garbled" or got == DATA[BEGIN:END]


@pytest.mark.parametrize("manner", ["silent", "stalled"])
def test_two_stuck_requests_end_with_the_time_limit(server: Server, manner: str) -> None:
    client = RangeClient(read_seconds=0.3)
    with pytest.raises(StorageUnavailable, match="timed out"):
        fetch(client, server, manner)
    client.close()


def test_no_more_second_requests_than_the_budget(server: Server) -> None:
    client = RangeClient(read_seconds=0.6, patience=Patience(free=2, every=1000))
    for _ in range(8):
        client.patience.answered(0.001)
    for _ in range(4):
        with pytest.raises(StorageUnavailable):
            fetch(client, server, "silent")
    assert client.patience.hedges == 2
    client.close()


def test_patience_grows_with_what_is_usual() -> None:
    patience = Patience()
    assert patience.seconds(30) == 2.0
    for _ in range(20):
        patience.answered(0.01)
    assert patience.seconds(30) == 0.25
    for _ in range(60):
        patience.answered(1.5)
    assert patience.seconds(30) == 6.0
    assert patience.seconds(4) == 4


def test_slow_is_told_by_the_usual_rate() -> None:
    patience = Patience()
    assert not patience.is_slow(1, 1000)
    for _ in range(9):
        patience.received(80_000_000, 1)
    assert patience.is_slow(9_000_000, 1)
    assert not patience.is_slow(11_000_000, 1)
