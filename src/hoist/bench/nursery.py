"""A process that imports once and forks what a benchmark starts: orders and answers, a line each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from hoist.errors import LocalError


class Nursery:
    """Runs `module`, which starts `what`, for the length of a `with` block. Raises LocalError where it does not start.

    At its end the process has `end_seconds` to end what it started (None: as long as it takes), and is killed then.
    """

    def __init__(self, module: str, what: str, environ: Mapping[str, str], end_seconds: float | None = None) -> None:
        self._module, self._what, self._environ = module, what, dict(environ)
        self._end_seconds = end_seconds
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        # Ctrl-C is the benchmark's to handle: the end of its input ends the nursery, and with it what it started.
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environ,
            text=True,
            start_new_session=True,
        )
        try:
            self._hear()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer to an order. Raises LocalError when it has died."""
        assert self._process is not None and self._process.stdin is not None, "it is entered"
        # One that has died says so by the end of its answers.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        return self._hear()

    def close(self) -> None:
        """End it, and with it what it started."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        # What was written to one that has died is flushed in vain.
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(self._end_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _hear(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None, "it is entered"
        line = self._process.stdout.readline()
        if not line:
            raise LocalError(f"the process that starts {self._what} ended with {self._process.wait()}: out of memory?")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer
