"""Commands run as a user runs them, and what the tests give them: weight files, a slow network."""

from __future__ import annotations

import json
import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

from hoist.testing.servers import S3Server
from zygote import Zygote

SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """A user with a home and an environment of their own. No output of theirs may hold one of `secrets`.

    With a zygote, what runs to its end is a fork of that: Python and torch are not started for each command.
    """

    home: Path
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    zygote: Zygote | None = None

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """Start `hoist WORDS` in the home, by a Python of its own."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(SOURCE), **self.env, **more}
        return subprocess.Popen(
            [sys.executable, "-m", "hoist", *words],
            cwd=self.home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Done:
        """Wait for it; no command ever shows a traceback or a secret."""
        out, error = process.communicate(timeout=120)
        return self._checked(Done(process.returncode, out, error))

    def _checked(self, done: Done) -> Done:
        assert "Traceback" not in done.out + done.error, done.error
        assert not any(secret in done.out + done.error for secret in self.secrets)
        return done

    def fails(self, *words: str, **more: str) -> Done:
        """Run to the end, whatever its exit code."""
        if self.zygote is None:
            return self.finish(self.start(*words, **more))
        ended = self.zygote.run(self.home, {**self.env, **more}, *words)
        return self._checked(Done(ended.code, ended.out, ended.error))

    def run(self, *words: str, **more: str) -> Done:
        """Run a command that must succeed."""
        done = self.fails(*words, **more)
        assert done.code == 0, done.error
        return done

    def json(self, *words: str, **more: str) -> Any:
        """Run a command that must succeed, with --json; its document."""
        return self.run(*words, "--json", **more).json

    def with_env(self, **more: str) -> Shell:
        """The same user with other variables."""
        return replace(self, env={**self.env, **more})

    def alone(self) -> Shell:
        """The same user, whose every command is a Python of its own."""
        return replace(self, zygote=None)


def bucket_shell(home: Path, server: S3Server, zygote: Zygote, endpoint: str | None = None) -> Shell:
    """A user whose storage `here` is a new bucket of the server, reached at `endpoint` if it is given."""
    bucket = f"cli-{uuid4().hex[:12]}"
    server.create_bucket(bucket)
    env = {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "HOIST_STORAGE_HERE_URL": f"s3://{bucket}/models",
        "HOIST_STORAGE_HERE_ENDPOINT": endpoint or server.endpoint,
        "HOIST_STORAGE_HERE_REGION": server.region,
    }
    return Shell(home, env, (server.secret_key,), zygote)


def directory_shell(home: Path, zygote: Zygote | None) -> Shell:
    """A user whose storage `here` is a directory."""
    (home / "storage").mkdir()
    return Shell(home, {"HOIST_STORAGE_HERE_URL": str(home / "storage")}, zygote=zygote)


def write_safetensors(path: Path, sizes: Mapping[str, int], seed: int = 0) -> Path:
    """A safetensors file of F32 tensors, each of so many elements."""
    document, at = {}, 0
    for name, count in sizes.items():
        document[name] = {"dtype": "F32", "shape": [count], "data_offsets": [at, at + 4 * count]}
        at += 4 * count
    header = json.dumps(document).encode()
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(at))
    return path


def write_hostile_checkpoint(path: Path, touches: Path) -> Path:
    """A zip checkpoint whose pickle would run a shell command when it is loaded naively."""

    class Hostile:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {touches}",)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Hostile()}, protocol=2))
        archive.writestr("archive/version", "3\n")
    return path


class SlowNetwork:
    """A way to a server that lets `rate` bytes a second through, both directions together; None is no limit."""

    def __init__(self, endpoint: str, rate: float | None) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname and parts.port
        self.rate = rate
        self.moved = 0
        self._target = (parts.hostname, parts.port)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def wait_until_moved(self, size: int, seconds: float = 60) -> None:
        """Wait until so many bytes have gone through."""
        until = time.monotonic() + seconds
        while self.moved < size:
            assert time.monotonic() < until, "nothing more is sent"
            time.sleep(0.02)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            # A thread that waits in accept() keeps the port: wake it.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._sockets:
                end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                with self._lock:
                    self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                with self._lock:
                    self.moved += len(data)
                    rate = self.rate
                    if rate:
                        time.sleep(len(data) / rate)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
