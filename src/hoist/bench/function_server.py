"""A served function as the benchmarks see it: a process that is asked over HTTP, with its CPU and memory."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hoist.bench.nursery import Nursery
from hoist.bench.process_cpu import session_cpu_seconds
from hoist.errors import LocalError

_START_SECONDS, _ANSWER_SECONDS, _DRAIN_SECONDS, _TRACE_SECONDS = 60.0, 900.0, 30.0, 2.0
_ADDRESS = re.compile(r"at http://127\.0\.0\.1:(\d+)")
_LOG_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and after how many seconds."""

    status: int
    document: Any
    seconds: float


class Servers(Nursery):
    """Starts servers in `folder`, for the length of a `with` block; what they import is there before they are."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        super().__init__("hoist.bench.function_nursery", "functions", environ)
        self._folder = folder
        self._count = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return super().__enter__()

    def function(self, models: Mapping[str, str], handler: str = "Touching", **told: Any) -> Server:
        """`hoist serve` of a handler of `function_handlers`; `told` is the rest of what `serve_as_told` is told.

        There is no host cache. `environ`, if it is told, is added to the environment.
        """
        environ = told.pop("environ", {})
        return self._start({"handler": f"hoist.bench.function_handlers:{handler}", "models": models, **told}, environ)

    def plain(self, environ: Mapping[str, str]) -> Server:
        """The plain function."""
        return self._start(None, environ)

    def end(self, pid: int) -> None:
        """Have a server end, and wait."""
        self.ask({"end": pid, "patience": _DRAIN_SECONDS})

    def _start(self, served: Mapping[str, Any] | None, environ: Mapping[str, str]) -> Server:
        self._count += 1
        log = self._folder / f"server-{self._count}.log"
        log.touch()
        given = {**self._environ, "HOIST_CACHE": "off", **environ}
        order = {"served": served, "environ": given, "folder": str(self._folder), "log": str(log)}
        return Server(self, self.ask(order)["pid"], log)


class Server:
    """One that was started. A context manager: entered it answers, left it has ended. Raises LocalError where it fails."""

    def __init__(self, servers: Servers, pid: int, log: Path) -> None:
        self.pid = pid
        self._servers, self._log = servers, log
        self._connection: HTTPConnection | None = None
        self.port = 0
        self._last = ""

    def __enter__(self) -> Self:
        until = time.monotonic() + _START_SECONDS
        try:
            while not (found := _ADDRESS.search(self._log.read_text())):
                if time.monotonic() > until or "error:" in self._log.read_text():
                    raise LocalError(f"the function did not start: {self._log.read_text()[-_LOG_SHOWN:].strip()}")
                time.sleep(0.005)
            self.port = int(found[1])
            self._connection = self.connect()
        except BaseException:
            self._servers.end(self.pid)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection
        self._connection.close()
        self._servers.end(self.pid)

    def connect(self) -> HTTPConnection:
        """A connection of one's own, for another thread."""
        return HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_SECONDS)

    def get(self, path: str) -> Answer:
        """A GET over the connection that is kept."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, document: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        """A POST of JSON; `x_hoist_model="a"` is a header."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self._ask("POST", path, json.dumps(document or {}).encode(), named)

    def switched(self, path: str, model: str) -> Answer:
        """The answer to `/switch` or `/invoke` for a model. Raises LocalError if it is none."""
        answer = self.post(path, {"model": model}, Content_Type="application/json")
        if answer.status != 200:
            raise LocalError(f"{path} of {model}: {answer.status}: {answer.document['error']['message']}")
        return answer

    def new_trace(self, model: str) -> dict[str, Any] | None:
        """The trace of the last load, if it is the model's and new; it can be noted a moment after the answer."""
        until = time.monotonic() + _TRACE_SECONDS
        while True:
            answer = self.get("/trace")
            found = answer.document if answer.status == 200 else {}
            if found.get("model") == model and found["id"] != self._last:
                self._last = found["id"]
                return dict(found)
            if time.monotonic() > until:
                return None
            time.sleep(0.005)

    def states(self) -> dict[str, dict[str, Any]]:
        """What `/models` says of each model, by name."""
        return {each["name"]: each for each in self.get("/models").document["models"]}

    @contextmanager
    def watched(self) -> Iterator[dict[str, Any]]:
        """A `with` block whose CPU seconds and peak memory, above what was held before, are in the dict at its end."""
        figures: dict[str, Any] = {}
        before = self.memory("VmRSS")
        # Some sandboxes refuse it: then the peak is that of the process's whole life.
        with suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        used = session_cpu_seconds([self.pid])
        yield figures
        figures["cpu_seconds"] = session_cpu_seconds([self.pid]) - used
        figures["peak_bytes"] = max(0, self.memory("VmHWM") - before)

    def memory(self, field: str) -> int:
        """A memory figure of the process, in bytes, as /proc's status names it."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), 0)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        assert self._connection
        return ask(self._connection, method, path, body, headers)


def ask(connection: HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    """One request and its answer, from sending it until the last byte. Raises LocalError where there is none."""
    began = time.perf_counter()
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        data = response.read()
    except (OSError, HTTPException) as error:
        raise LocalError(f"the function gave no answer to {path}: {error}") from None
    seconds = time.perf_counter() - began
    kind = response.getheader("Content-Type") or ""
    return Answer(response.status, json.loads(data) if "json" in kind else data.decode(), seconds)
