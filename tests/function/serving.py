"""A served function, as its clients see it: a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

import numpy as np

from hoist.storage.base import Storage
from makers import Raw, directory_storage, publish, safetensors_bytes, write_files
from zygote import Ended, Started, Zygote

HANDLERS = Path(__file__).with_name("served_handlers.py")
START_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The word for programs of an error."""
        return str(self.json["error"]["code"])


class Served:
    """`hoist serve served_handlers:HANDLER WORDS` while it is entered, on a free port of this host."""

    def __init__(self, zygote: Zygote, home: Path, handler: str, *words: str, **env: str) -> None:
        self.notes = home / "notes"
        self.notes.mkdir(parents=True, exist_ok=True)
        shutil.copy(HANDLERS, home)
        self._zygote, self._home = zygote, home
        self._words = ("serve", f"served_handlers:{handler}", "--listen", "127.0.0.1:0", *words)
        self._env = {"NOTES": str(self.notes), **env}
        self.started: Started | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.started = self._zygote.start(self._home, self._env, *self._words)
        until = time.monotonic() + START_SECONDS
        while not (found := re.search(r"at http://127.0.0.1:(\d+)", self.started.out.read_text())):
            assert time.monotonic() < until, self.log
            assert "error:" not in self.log, self.log
            time.sleep(0.01)
        self.port = int(found[1])
        return self

    def __exit__(self, *error: object) -> None:
        if self.started is not None:
            self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM, seconds: float = 30.0) -> Ended:
        """Send it a signal, and wait."""
        assert self.started
        started, self.started = self.started, None
        return started.end(number, seconds)

    @property
    def log(self) -> str:
        """What it has said on standard error so far."""
        assert self.started
        return self.started.error.read_text()

    def connect(self, seconds: float = 30.0) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}))
            return answer_of(connection)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=_headers(headers))

    def post(self, path: str, document: Any = None, **headers: str) -> Answer:
        """A request with a body of JSON; `x_hoist_model="a"` is a header."""
        body = b"" if document is None else json.dumps(document).encode()
        return self.ask("POST", path, body, {"Content-Type": "application/json", **_headers(headers)})

    def invoke(self, do: str, *, model: str | None = None, **order: Any) -> Answer:
        """Have `Ordered` do something."""
        headers = {"x_hoist_model": model} if model else {}
        return self.post("/invoke", {"do": do, **order}, **headers)

    def until(self, what: str, seconds: float = 20.0) -> None:
        """Wait until a handler has left this note."""
        wait_until((self.notes / what).exists, what, seconds)

    def ready(self) -> Self:
        """Wait until it is."""
        wait_until(lambda: self.get("/readyz").status == 200, "ready")
        return self

    def note(self, *names: str) -> None:
        """Tell handlers to go on."""
        for name in names:
            (self.notes / name).touch()


def answer_of(connection: HTTPConnection) -> Answer:
    response = connection.getresponse()
    return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())


def wait_until(holds: Any, what: str, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"never {what}"
        time.sleep(0.01)


def _headers(words: Mapping[str, str]) -> dict[str, str]:
    return {key if key.startswith("serve_") else key.replace("_", "-"): value for key, value in words.items()}


def weights(seed: int, sizes: Mapping[str, int]) -> bytes:
    """A safetensors file of F32 tensors, each of so many elements."""
    dice = np.random.default_rng(seed)
    raw = [
        Raw(name, "F32", [count], dice.standard_normal(count, np.float32).tobytes()) for name, count in sizes.items()
    ]
    return safetensors_bytes(raw)


def publish_models(home: Path, sizes: Mapping[str, int], count: int = 1000) -> dict[str, str]:
    """Models of some tensors each, in a storage that is a directory; their locations by name."""
    storage: Storage = directory_storage(home / "storage")
    found = {}
    for number, (name, tensors) in enumerate(sizes.items()):
        data = weights(number, {f"w{each}": count for each in range(tensors)})
        publish(write_files(home / name, {"model.safetensors": data, "config.json": b"{}"}), storage, f"m/{name}:v1")
        found[name] = f"{home}/storage//m/{name}:v1"
    return found
