"""Hosts as network namespaces: they reach each other by shaped links, and nothing of them stays, however a process ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from netns_fixtures import namespaces_of, require_namespaces

from hoist.bench.netns import PREFIX, Network, inside, sweep
from hoist.errors import LocalError
from hoist.testing.servers import NginxBucket
from makers import SOURCE, wait_for

_HOLDS = """
import sys, time
from hoist.bench.netns import Network
with Network() as network:
    network.add("one", rate=1e6)
    print(network._warden.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    require_namespaces()


def here() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def test_a_server_on_one_host_is_read_from_another_and_from_nowhere_else(tmp_path: Path) -> None:
    before, devices = here(), names_of_devices()
    with Network() as network:
        server, reader = network.add("server", rate=50e6), network.add("reader", receive_rate=25e6)
        bucket = NginxBucket(tmp_path)
        bucket.address = server.address
        with inside(server.namespace), bucket:
            bucket.create_bucket("b")
            (tmp_path / "b" / "object").write_bytes(os.urandom(1 << 20))
            assert here() != before
            sent = server.sent_bytes()
            with inside(reader.namespace), urlopen(f"{bucket.endpoint}/b/object", timeout=20) as answer:
                assert answer.read() == (tmp_path / "b" / "object").read_bytes()
            # Frames have headers, a few of each segment.
            assert 1 << 20 < server.sent_bytes() - sent < 1.05 * (1 << 20)
        assert here() == before
        with pytest.raises(OSError), urlopen(f"http://{server.address}:1/", timeout=1):
            pass
        # No end of a link is in the namespace of everybody else.
        assert names_of_devices() == devices
        rates = _rates(server.namespace, "up0"), _rates(f"{network._name}-switch", "port2")
        assert rates == (["400Mbit"], ["200Mbit"])
    assert namespaces_of(os.getpid()) == []


def names_of_devices() -> list[str]:
    return [line.partition(":")[0].strip() for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]]


def _rates(namespace: str, device: str) -> list[str]:
    """The rates of the classes on a device, in tc's words."""
    said = subprocess.check_output(["tc", "-n", namespace, "class", "show", "dev", device], text=True)
    return re.findall(r" rate (\w+)", said)


def test_two_networks_at_once_do_not_meet() -> None:
    with Network() as one, Network() as two:
        first, second = one.add("same"), two.add("same")
        assert first.address == second.address and first.namespace != second.namespace


def test_a_host_that_is_not_there_is_told_by_name() -> None:
    before = here()
    with pytest.raises(LocalError, match=f"{PREFIX}-none"), inside(f"{PREFIX}-none"):
        pass
    assert here() == before


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_namespaces_go_with_the_process_however_it_ends(end: signal.Signals) -> None:
    holder, _ = _hold()
    assert len(namespaces_of(holder.pid)) == 2
    holder.send_signal(end)
    holder.wait()
    wait_for(lambda: not namespaces_of(holder.pid), 20)


def test_where_the_warden_was_killed_too_the_next_start_removes_them_and_no_others() -> None:
    (dead, warden), (alive, _) = _hold(), _hold()
    try:
        os.kill(warden, signal.SIGKILL)
        dead.kill()
        dead.wait()
        assert len(namespaces_of(dead.pid)) == 2, "nobody was there to remove them"
        removed = sweep()
        assert {name.split("-")[2] for name in removed} == {str(dead.pid)}
        assert namespaces_of(dead.pid) == [] and len(namespaces_of(alive.pid)) == 2
    finally:
        alive.kill()
        alive.wait()
    wait_for(lambda: not namespaces_of(alive.pid), 20)


def _hold() -> tuple[subprocess.Popen[str], int]:
    """A process with a network, and the pid of its warden."""
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
    holder = subprocess.Popen([sys.executable, "-c", _HOLDS], stdout=subprocess.PIPE, text=True, env=environ)
    assert holder.stdout is not None
    with holder.stdout:
        return holder, int(holder.stdout.readline())
