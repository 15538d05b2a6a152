"""One instance: a process that loads a model, tells how that goes, and then stays until its parent lets go of it.

`python -m hoist.fleet.child` reads one JSON order from its input, which its parent then holds open and writes nothing more
to. When that end closes, however the parent came to its end, the kernel kills the instance and whatever it has started:
it needs no thread for that, so a function that hangs in a library ends too. Events go to its output, a JSON line each.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from hoist.config import become
from hoist.errors import HoistError, LocalError, UsageError
from hoist.fleet.model import Meter, Model, Tell, load_only
from hoist.fleet.named import find_named

_F_SETSIG = 10
_CLONE_NEWNET = 0x40000000
_MOST_MESSAGE = 2000


def main() -> None:
    """Be the instance that standard input orders."""
    # Functions print: what they say must not stand between the events.
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = read_order(0)
    end_with(0)
    # What was forked has the environment and folder of the process that it was forked from.
    become(order["environ"], order["folder"])

    def tell(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    kept = _run(order, tell)
    while kept is not None:
        signal.pause()
    events.flush()
    # Threads of a library must not keep an instance that has failed.
    os._exit(1)


def read_order(fd: int) -> dict[str, Any]:
    """The line at the beginning of a pipe, and nothing beyond it."""
    data = b""
    while not data.endswith(b"\n"):
        got = os.read(fd, 1 << 16)
        if not got:
            os._exit(1)  # whoever ordered has gone
        data += got
    order = json.loads(data)
    assert isinstance(order, dict)
    return order


def end_with(fd: int) -> None:
    """Have the kernel kill this process's group once the other end of the pipe `fd` is closed."""
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgid(0))
    fcntl.fcntl(fd, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, 0)
    if poll.poll(0):
        os._exit(1)  # it was closed before the kernel knew what to do then


def enter_namespace(name: str) -> None:
    """Move this process, which has one thread yet, to a network namespace of `ip netns`. Raises UsageError, LocalError."""
    try:
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise UsageError(f"there is no network namespace {name!r}: make it with ip netns add") from None
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.setns(fd, _CLONE_NEWNET):
            reason = os.strerror(ctypes.get_errno())
            raise LocalError(f"cannot enter the network namespace {name!r}: {reason}; it needs root")
    finally:
        os.close(fd)


def find_function(name: str | None) -> Callable[[Model], Any]:
    """The function that `MODULE:FUNCTION` names. Raises UsageError."""
    if name is None:
        return load_only
    found = find_named(name)
    if not callable(found):
        raise UsageError(f"{name} is no function")
    return found  # type: ignore[no-any-return]


def _run(order: Mapping[str, Any], tell: Tell) -> Any:
    """Call the function; what it gave, to be kept, or None after telling why not."""
    meter = Meter(tell)
    began = time.monotonic()
    meter.spent("provision", began - order["asked"])
    try:
        if order["namespace"]:
            enter_namespace(order["namespace"])
        # As with `python -m`, whichever way this process was started.
        if "" not in sys.path and order["folder"] not in sys.path:
            sys.path.insert(0, order["folder"])
        function = find_function(order["function"])
        meter.spent("import", time.monotonic() - began)
        model = Model(order["location"], order["device"], order["number"], tuple(order["files"]), meter)
        kept = (model, function(model))
    except BaseException as error:  # noqa: BLE001 a function may raise anything, SystemExit too: it is told
        tell({"event": "failed", "error": _described(error)})
        return None
    _tell_loaded(meter, began, order["asked"], tell)
    return kept


def _tell_loaded(meter: Meter, began: float, asked: float, tell: Tell) -> None:
    now = time.monotonic()
    claimed = sum(seconds for phase, seconds in meter.phases.items() if phase != "provision")
    meter.spent("warmup", max(0.0, now - began - claimed))
    loaded = {"event": "loaded", "seconds": now - asked, "phases": meter.phases}
    tell({**loaded, "size": meter.size, "fetched": meter.fetched})


def _described(error: BaseException) -> str:
    """What it was, in a line; of anything but Hoist's own errors with its place, as nobody sees a traceback."""
    from hoist.storage.translate import redact

    if isinstance(error, HoistError):
        return redact(str(error))[:_MOST_MESSAGE]
    place, trace = "", error.__traceback__
    while trace is not None:
        place = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    return redact(f"{type(error).__name__}: {error}{place}")[:_MOST_MESSAGE]


if __name__ == "__main__":
    main()
