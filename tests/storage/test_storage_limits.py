"""A read that is given up in the time that was said: what it raises, and that nothing writes to its buffer afterwards."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hoist.errors import StorageUnavailable
from hoist.storage.limits import Late, Limits, limits_now, within
from hoist.storage.pool import CONNECT_SECONDS
from hoist.storage.ranges import RangeClient
from hoist.testing.servers import FaultServer, FolderOrigin, Rule
from hoist.testing.servers.fault_kinds import Refusal, Slow, Stalled
from makers import noise

DATA = noise(1 << 20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket/key").write_bytes(DATA)
    with FaultServer(FolderOrigin(tmp_path)) as found:
        yield found


@pytest.fixture
def client() -> Iterator[RangeClient]:
    found = RangeClient()
    yield found
    found.close()


def read(client: RangeClient, server: FaultServer, buffer: bytearray) -> None:
    client.read_into(f"{server.endpoint}/bucket/key", 0, memoryview(buffer), "the key")


@pytest.mark.parametrize("known", [False, True], ids=["a new server", "a known one"])
@pytest.mark.parametrize("moment", ["before", "headers", "body"])
def test_a_silent_server(client: RangeClient, server: FaultServer, moment: str, known: bool) -> None:
    for _ in range(10 if known else 1):
        read(client, server, bytearray(len(DATA)))
    server.plan(Rule(Stalled(moment), count=1))  # type: ignore[arg-type]
    buffer = bytearray(len(DATA))
    began = time.monotonic()
    # A second request to the same server may still mend it.
    try:
        with within(Limits(0.3, began + 60)):
            read(client, server, buffer)
    except Late as late:
        assert late.silent
    else:
        assert buffer == DATA
    assert time.monotonic() - began < 20
    server.plan(Rule(Stalled(moment)))  # type: ignore[arg-type]
    buffer[:] = bytes(len(DATA))
    with pytest.raises(Late, match=r"sent nothing for 0\.3 s") as told, within(Limits(0.3)):
        read(client, server, buffer)
    # The body of each second request brings half of the rest, which is no silence.
    assert told.value.silent
    assert time.monotonic() - began < 40


def test_a_slow_server_is_given_up_at_the_end_of_its_time(client: RangeClient, server: FaultServer) -> None:
    server.plan(Rule(Slow(100_000)))
    buffer = bytearray(len(DATA))
    with pytest.raises(Late, match="far slower than usual") as told, within(Limits(5.0, time.monotonic() + 0.5)):
        read(client, server, buffer)
    assert not told.value.silent
    buffer[:] = bytes(len(DATA))
    time.sleep(0.2)
    assert not any(buffer)
    server.plan()
    read(client, server, buffer)
    assert buffer == DATA


def test_a_server_that_takes_no_connection(client: RangeClient) -> None:
    """As behind a router that is gone: nobody answers, and nobody refuses."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/bucket/key"
        began = time.monotonic()
        with pytest.raises(Late) as told, within(Limits(0.3)):
            client.read_into(url, 0, memoryview(bytearray(10)), "the key")
        assert told.value.silent
        assert time.monotonic() - began < CONNECT_SECONDS / 2


def test_limits_change_no_other_error(client: RangeClient, server: FaultServer) -> None:
    server.plan(Rule(Refusal(503)))
    with pytest.raises(StorageUnavailable) as told, within(Limits(1.0)):
        read(client, server, bytearray(10))
    assert not isinstance(told.value, Late)


def test_they_end_with_the_block() -> None:
    with within(Limits(1.0)):
        assert limits_now() == Limits(1.0)
    assert limits_now() is None
