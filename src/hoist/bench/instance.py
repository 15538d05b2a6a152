"""The handle to a worker: an instance that a benchmark tells to switch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hoist.errors import HoistError, LocalError

if TYPE_CHECKING:
    from hoist.bench.loaders import Switch


class Instance:
    """A process that switches models with one loader. Use as a context manager. Raises LocalError if it dies."""

    def __init__(self, loader: str, environ: Mapping[str, str]) -> None:
        self.loader = loader
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hoist.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environ),
            text=True,
            # Ctrl-C is the benchmark's to handle: it ends its instances by closing their input.
            start_new_session=True,
        )

    def switch(self, switch: Switch) -> dict[str, Any]:
        """Switch to a model; figures in bytes and seconds. Raises HoistError with the worker's message."""
        answer = self._ask({"do": "switch", "loader": self.loader, "switch": asdict(switch)})
        if "error" in answer:
            raise HoistError(f"{switch.location}, loader {self.loader}: {answer['error']}")
        return answer

    def free(self) -> None:
        """Let the model go; also waits until the process is up."""
        self._ask({"do": "free"})

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise LocalError(
                f"the instance of loader {self.loader!r} ended with {self._process.poll()}: out of memory?"
            )
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer
