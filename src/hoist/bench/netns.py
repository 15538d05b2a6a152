"""Other hosts on this machine: network namespaces on a bridge of their own, each with the rate of its link.

    with Network() as network:
        server = network.add("server", rate=600e6)
        with inside(server.namespace):
            ...                     # what is started here is on that host

Nothing else on the machine is touched: the bridge stands in a namespace too, and no end of a link is ever elsewhere. The
namespaces go with the `with` block, with the process however it ends (a warden sees to it), and where both were killed,
at the next start.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from hoist.errors import LocalError
from hoist.testing.servers.base import find_program, missing_programs

PREFIX = "hoist-ns"
_NAMED = Path("/run/netns")
_OURS = re.compile(rf"{PREFIX}-(\d+)-(\d+)-\w+-[a-z0-9-]+")
_CLONE_NEWNET = 0x40000000
_FIELD_STARTED = 19
# A frame's headers are under 1 % of it.
_MTU = 9000
# What may pass at once after a time of idleness: little beside a second, and more than the kernel's largest segment.
_BURST_SECONDS, _LEAST_BURST = 0.004, 256 << 10
_NETWORK = "10.198"
_MOST_HOSTS = 60_000


@dataclass(frozen=True, slots=True)
class Host:
    """One of them: the name of its namespace, and its address on the bridge."""

    namespace: str
    address: str

    def sent_bytes(self) -> int:
        """What has left by its link so far, the frames' headers included. Raises LocalError."""
        (link,) = json.loads(_run("ip", "-n", self.namespace, "-s", "-j", "link", "show", "dev", "up0"))
        return int(link["stats64"]["tx"]["bytes"])


class Network:
    """Hosts that reach each other over one switch. Raises LocalError where the system does not let us."""

    def __init__(self) -> None:
        # A process may have several, one after the other or at once.
        self._name = f"{PREFIX}-{os.getpid()}-{_started(os.getpid())}-{os.urandom(3).hex()}"
        self._switch = f"{self._name}-switch"
        self._hosts = 0
        self._warden: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        reason = unavailable()
        if reason:
            raise LocalError(reason)
        sweep()
        ip = find_program("ip")
        warden = Path(__file__).with_name("netns_warden.py")
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", str(warden), ip or "ip", self._name],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _run("ip", "netns", "add", self._switch)
            _batch("ip", self._switch, f"link add br0 mtu {_MTU} type bridge", "link set br0 up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, name: str, *, rate: float | None = None, receive_rate: float | None = None) -> Host:
        """A new host. It sends at most `rate` and receives at most `receive_rate` bytes a second; None: no limit."""
        self._hosts += 1
        number = self._hosts
        assert number < _MOST_HOSTS, "the network has addresses for so many"
        host = Host(f"{self._name}-{name}", f"{_NETWORK}.{number // 250}.{number % 250 + 1}")
        port = f"port{number}"
        _run("ip", "netns", "add", host.namespace)
        _batch(
            "ip",
            self._switch,
            f"link add {port} mtu {_MTU} type veth peer name up0 mtu {_MTU} netns {host.namespace}",
            f"link set {port} master br0 up",
        )
        _batch("ip", host.namespace, "link set lo up", f"addr add {host.address}/16 dev up0", "link set up0 up")
        if rate is not None:
            _shape(host.namespace, "up0", rate)
        if receive_rate is not None:
            _shape(self._switch, port, receive_rate)
        return host

    def close(self) -> None:
        """Take it down. What still runs in it keeps its namespace, without a name, for as long as it runs."""
        warden, self._warden = self._warden, None
        if warden is None:
            return
        try:
            _remove(name for name in _names() if name.startswith(f"{self._name}-"))
        finally:
            assert warden.stdin is not None
            warden.stdin.close()
            warden.wait()


@cache
def unavailable() -> str | None:
    """None where hosts can be made and shaped; else the reason and the mend. It is tried once."""
    missing = missing_programs("iproute2", ("ip", "tc"), "sudo apt-get install -y iproute2")
    if missing:
        return missing
    if os.geteuid() != 0:
        return "network namespaces need root here: run it as root, or with sudo -E"
    name = f"{PREFIX}-{os.getpid()}-{_started(os.getpid())}-{os.urandom(3).hex()}-try"
    try:
        _run("ip", "netns", "add", name)
        _batch("ip", name, f"link add try0 mtu {_MTU} type veth peer name try1", "link set try0 up")
        _shape(name, "try0", 1e6)
    except LocalError as error:
        return f"network namespaces with shaped links do not work here: {error}"
    finally:
        with suppress(LocalError):
            _remove([name])
    return None


def sweep() -> list[str]:
    """Remove what processes left that are no more; the names. Those of living processes stay. Raises LocalError."""
    left = [name for name in _names() if (found := _OURS.fullmatch(name)) and _started(int(found[1])) != found[2]]
    _remove(left)
    return left


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Have this thread, and what it starts, be on that host for the `with` block. Raises LocalError."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(namespace)
        try:
            yield
        finally:
            _set_namespace(before, "the one before")
    finally:
        os.close(before)


def enter(namespace: str) -> None:
    """Have this thread be on that host from now on. Raises LocalError."""
    try:
        there = os.open(_NAMED / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LocalError(f"there is no network namespace {namespace}: {error.strerror}") from None
    try:
        _set_namespace(there, namespace)
    finally:
        os.close(there)


def _set_namespace(descriptor: int, name: str) -> None:
    # os.setns is Python 3.12's.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise LocalError(f"cannot enter the network namespace {name}: {os.strerror(ctypes.get_errno())}")


def _shape(namespace: str, device: str, rate: float) -> None:
    burst = max(_LEAST_BURST, int(rate * _BURST_SECONDS))
    bits = int(rate * 8)
    _batch(
        "tc",
        namespace,
        f"qdisc add dev {device} root handle 1: htb default 10 r2q 1000",
        f"class add dev {device} parent 1: classid 1:10 htb rate {bits}bit ceil {bits}bit burst {burst} cburst {burst}",
    )


def _names() -> list[str]:
    try:
        return [path.name for path in _NAMED.iterdir()]
    except FileNotFoundError:
        return []


def _remove(names: Iterator[str] | list[str]) -> None:
    for name in names:
        # The warden, or another process that sweeps, may be first.
        try:
            _run("ip", "netns", "del", name)
        except LocalError:
            if (_NAMED / name).exists():
                raise


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks, so that a later one with its number is not taken for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_FIELD_STARTED]
    except OSError:
        return ""


def _batch(program: str, namespace: str, *commands: str) -> None:
    _run(program, "-n", namespace, "-batch", "-", said="\n".join(commands) + "\n")


def _run(program: str, *words: str, said: str | None = None) -> str:
    try:
        # In a session of its own: a Ctrl-C shall not leave a command half done.
        done = subprocess.run(
            [find_program(program) or program, *words],
            input=said,
            capture_output=True,
            text=True,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        raise LocalError(f"{program} does not start: {error.strerror}") from None
    if done.returncode:
        told = " ".join((done.stderr.strip() or done.stdout.strip()).split())
        raise LocalError(f"{program} {' '.join(words[:4])}: {told or f'ended with {done.returncode}'}")
    return done.stdout
