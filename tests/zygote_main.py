"""Runs in a process of its own, with everything imported: forks a child for each command that a line of input asks for.

A line is a JSON object: `words`, `env`, `cwd`, `out` and `error` (files), `kill` (seconds until SIGKILL, or null). The
answer is a line: the exit code (negative: the signal) and the seconds it took. Only the forking process waits for the
child, so that a kill never hits a process that took over its number.

With `start` a line is answered with the child's pid at once; a later line with that as `pid` sends it `signal` (0: none)
and waits for its end for `kill` seconds before SIGKILL. Children end with this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

import botocore.auth
import botocore.awsrequest
import botocore.session  # noqa: F401
import ruamel.yaml  # noqa: F401
import torch  # noqa: F401
import uvicorn  # noqa: F401

import hoist.bench
import hoist.cli
import hoist.cli.bring
import hoist.cli.deploy
import hoist.cli.image
import hoist.cli.interrupt
import hoist.cli.load
import hoist.cli.look
import hoist.cli.parser
import hoist.cli.progress
import hoist.cli.serve
import hoist.function.service.app
import hoist.function.service.run
import hoist.image.verbs
import hoist.rollout.verb
import hoist.storage.image.open_image
import hoist.storage.open_bucket
import hoist.storage.open_directory
import hoist.tensors.checkpoint
import hoist.tensors.safetensors
import hoist.tensors.timing
import hoist.transfer.copying
import hoist.verbs

_NOBODY = 65534
_PR_SET_PDEATHSIG = 1


def child(order: dict[str, object]) -> None:
    """Become the command."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number, key in ((1, "out"), (2, "error")):
        os.dup2(os.open(str(order[key]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(str(order["cwd"]))
    if order["nobody"]:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[call-overload]
    words = order["words"]
    assert isinstance(words, list)
    try:
        code = hoist.cli.main(words)
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
    os._exit(code)


def main() -> None:
    """Serve until the input ends."""
    # Which imports the modules of all verbs.
    hoist.cli.parser.build_parser()
    for line in sys.stdin:
        order = json.loads(line)
        began = time.monotonic()
        if "pid" in order:
            with suppress(ProcessLookupError):
                os.kill(order["pid"], order["signal"])
            answer = [wait(order["pid"], order["kill"]), time.monotonic() - began]
        else:
            pid = os.fork()
            if not pid:
                child(order)
            answer = [pid, 0.0] if order["start"] else [wait(pid, order["kill"]), time.monotonic() - began]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def wait(pid: int, seconds: float | None) -> int:
    """Wait for a child's end, or end it after so many seconds; its exit code."""
    if seconds is not None:
        end = os.pidfd_open(pid)
        if not select.select([end], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(end)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
