"""The other end of `herd_nursery.py`: a process that starts instances, as the benchmark sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from hoist.bench.herd_task import Task
from hoist.errors import LocalError

_END_SECONDS = 5.0


class Nursery:
    """Starts herds, for the length of a `with` block. Raises LocalError where its process does not start."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        # Ctrl-C is the benchmark's to handle: the end of its input ends the nursery and its instances.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hoist.bench.herd_nursery"],
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

    def run(self, tasks: Sequence[Task], patience: float, *, learn: bool = False) -> list[dict[str, Any]]:
        """Start an instance for each task, all at one moment; a result each: `seconds` and figures, or an `error`.

        Those that have not loaded after `patience` seconds are ended. `learn`: what they imported is there for all later
        ones. Raises LocalError when the nursery has died.
        """
        assert self._process is not None and self._process.stdin is not None, "it is entered"
        command = {"tasks": [task.to_json() for task in tasks], "patience": patience, "learn": learn}
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LocalError(f"the process that starts instances ended with {self._process.poll()}") from None
        results = self._hear()["results"]
        assert isinstance(results, list) and len(results) == len(tasks)
        return results

    def close(self) -> None:
        """End it, and with it what it started."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _hear(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None, "it is entered"
        line = self._process.stdout.readline()
        if not line:
            raise LocalError(f"the process that starts instances ended with {self._process.wait()}: out of memory?")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer
