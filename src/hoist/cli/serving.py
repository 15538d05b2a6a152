"""Running a mount: here, until a signal, or by a process in the background that outlives this one."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

from hoist.cli.interrupt import end_by
from hoist.cli.text import printable, tell_error
from hoist.config import load_config
from hoist.errors import HoistError, LocalError
from hoist.mount.daemon import MountPlan, serve

_SYSLOG = Path("/dev/log")
_REPEAT_SECONDS = 10.0
_SWITCH_SECONDS = 0.0005
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def serve_here(plan: MountPlan, ready_fd: int | None) -> int:
    """Serve until it is unmounted or this process gets SIGTERM, SIGINT or SIGHUP; 0 for each of these ends.

    `ready_fd` is told, as JSON, that it can be read, or why not: then nothing is printed here.
    """
    stop = Event()
    # Many threads each hold the interpreter for moments: who answers a reader must not wait 5 ms for one that hashes next.
    sys.setswitchinterval(_SWITCH_SECONDS)
    end_by(lambda *_: stop.set(), (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    try:
        _start_log(plan, in_background=ready_fd is not None)
        serve(plan, load_config(), lambda: _ready(plan, ready_fd), stop)
    except HoistError as error:
        if ready_fd is None or not _tell(ready_fd, {"error": str(error), "code": error.exit_code}):
            raise
        return error.exit_code
    return 0


def serve_in_background(plan: MountPlan) -> int:
    """Start a process that serves, and wait until it can be read. Raises what kept it from that, as HoistError."""
    reads, tells = os.pipe()
    words = [word for word in sys.argv[1:] if word != "--daemon"]
    command = [sys.executable, "-m", "hoist", *words, "--ready-fd", str(tells)]
    with os.fdopen(reads, "rb") as pipe:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[tells, *_given(plan)],
            )
        finally:
            os.close(tells)
        said = pipe.read()
    try:
        document = json.loads(said)
    except ValueError:
        code = process.wait()
        raise LocalError(
            f"the mount's process ended ({code}) before it could be read; run it without --daemon"
        ) from None
    if "error" in document:
        process.wait()
        tell_error(document["error"])
        return int(document["code"])
    # It is not waited for: it is nobody's child soon.
    process.returncode = 0
    print(printable(f"mounted {', '.join(plan.storages)} at {plan.point} (process {process.pid})"))
    return 0


def _given(plan: MountPlan) -> list[int]:
    from hoist.mount.device import given_descriptor

    given = given_descriptor(plan.point)
    return [] if given is None else [given]


def _ready(plan: MountPlan, ready_fd: int | None) -> None:
    if ready_fd is None:
        print(printable(f"mounted {', '.join(plan.storages)} at {plan.point}; Ctrl-C unmounts it"), flush=True)
        return
    # A daemon holds no folder back from being unmounted.
    os.chdir("/")
    _tell(ready_fd, {"ready": True})


def _tell(fd: int, document: object) -> bool:
    """Whether somebody could be told: only the first word is heard."""
    try:
        os.write(fd, json.dumps(document).encode())
        os.close(fd)
    except OSError:
        return False
    return True


class _Sparing(logging.Filter):
    """Lets the same message through once in a while: a storage that is away fails each read in the same words."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message, now = record.getMessage(), time.monotonic()
        if now - self._said.get(message, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        if len(self._said) > 1000:
            self._said.clear()
        self._said[message] = now
        return True


def _start_log(plan: MountPlan, *, in_background: bool) -> None:
    handler: logging.Handler
    options = plan.options
    try:
        if options.log_file:
            # It notices when logrotate has moved the file.
            handler = logging.handlers.WatchedFileHandler(options.log_file, errors="backslashreplace")
        elif options.syslog or (in_background and _SYSLOG.exists()):
            handler = logging.handlers.SysLogHandler(str(_SYSLOG))
            handler.ident = f"hoist-mount[{os.getpid()}]: "
        else:
            handler = logging.NullHandler() if in_background else logging.StreamHandler()
    except OSError as error:
        where = options.log_file or "syslog"
        raise LocalError(f"the log cannot be written to {where}: {error.strerror or error}") from None
    handler.setFormatter(logging.Formatter("%(message)s" if handler.__class__.__name__ == "SysLogHandler" else _FORMAT))
    handler.addFilter(_Sparing())
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers = [handler]
    log = logging.getLogger("hoist.mount")
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO if options.log_file or options.syslog else logging.WARNING)
