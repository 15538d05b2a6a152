"""Forks the servers of the function benchmarks, with everything imported: `python -m hoist.bench.function_nursery`.

What a server imports is no part of any switch, so it is there before its time begins. A line of input is a JSON object:
with `served` (what `function_served.serve_as_told` is told; null: the plain function), `environ`, `folder` to work in and
`log` (a file for what it says) it is answered with a pid; with `end`, a pid, and `patience` (seconds until SIGKILL) it is
answered once that has ended.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import hoist.bench.function_handlers
import hoist.bench.function_served
import hoist.bench.plain_function
import hoist.function.opened
import hoist.function.resident
import hoist.function.service.app
import hoist.function.service.run
import hoist.function.service.service
import hoist.storage.image.open_image
import hoist.storage.open_bucket
import hoist.storage.open_directory
import hoist.tensors.checkpoint
import hoist.tensors.timing
from hoist.config import become

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the input ends."""
    hoist.tensors.timing.import_torch("cpu")
    # The terminal's Ctrl-C is the benchmark's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    _answer({})
    for line in sys.stdin:
        order = json.loads(line)
        if "end" in order:
            _answer({"code": _end(order["end"], order["patience"])})
            continue
        pid = os.fork()
        if not pid:
            _become(order)
        _answer({"pid": pid})


def _become(order: Mapping[str, Any]) -> None:
    """The server, in a fork; never comes back."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        become(order["environ"], order["folder"])
        if order["served"] is None:
            hoist.bench.plain_function.main()
        else:
            hoist.bench.function_served.serve_as_told(order["served"])
        code = 0
    except BaseException:  # noqa: BLE001 it is told in the log, and by the code
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _end(pid: int, patience: float) -> int:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = os.pidfd_open(pid)
    if not select.select([end], [], [], patience)[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(end)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _answer(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
