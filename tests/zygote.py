"""Commands as a user runs them, each in a process of its own, without waiting for Python to start each time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SOURCE = Path(__file__).parents[1] / "src"


@dataclass(frozen=True)
class Ended:
    """How a command ended; `code` is negative for a signal."""

    code: int
    seconds: float
    out: str
    error: str

    @property
    def killed(self) -> bool:
        """Whether SIGKILL came before its end."""
        return self.code == -signal.SIGKILL

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


class Zygote:
    """A Python with everything imported, whose forks run commands. One command at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("zygote_main.py"))],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def run(
        self, home: Path, env: Mapping[str, str], *words: str, kill: float | None = None, nobody: bool = False
    ) -> Ended:
        """Run `hoist WORDS` to its end, or to its SIGKILL after `kill` seconds. It never shows a traceback.

        `nobody`: as that user, who may do nothing; for root only.
        """
        out, error, order = self._order(home, env, words)
        code, seconds = self._ask({**order, "kill": kill, "nobody": nobody})
        ended = _ended(code, seconds, out, error)
        assert "Traceback" not in ended.error, ended.error
        assert "internal error" not in ended.error, ended.error
        return ended

    def start(self, home: Path, env: Mapping[str, str], *words: str) -> Started:
        """Start `hoist WORDS`, which goes on while others run; it ends with this zygote at the latest."""
        out, error, order = self._order(home, env, words)
        pid, _ = self._ask({**order, "start": True})
        return Started(self, int(pid), out, error)

    def end(self, started: Started, number: int, seconds: float) -> Ended:
        """Send what was started a signal (0: none), and wait; SIGKILL comes after so many seconds."""
        code, took = self._ask({"pid": started.pid, "signal": number, "kill": seconds})
        return _ended(code, took, started.out, started.error)

    def _order(self, home: Path, env: Mapping[str, str], words: tuple[str, ...]) -> tuple[Path, Path, dict[str, Any]]:
        self._count += 1
        out, error = self._folder / f"{self._count}.out", self._folder / f"{self._count}.error"
        for each in (out, error):
            # A kill can come before the child makes them.
            each.touch()
        given = {"PATH": os.environ["PATH"], "HOME": str(home), **env}
        order = {"words": words, "env": given, "cwd": str(home), "kill": None, "nobody": False, "start": False}
        return out, error, order | {"out": str(out), "error": str(error)}

    def _ask(self, order: Mapping[str, Any]) -> tuple[int, float]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code, seconds = json.loads(self._process.stdout.readline())
        return code, seconds


@dataclass(frozen=True)
class Started:
    """A command that goes on. Its output is in files until it has ended."""

    zygote: Zygote
    pid: int
    out: Path
    error: Path

    def end(self, number: int = signal.SIGTERM, seconds: float = 30.0) -> Ended:
        """Send it a signal, and wait. Once only."""
        return self.zygote.end(self, number, seconds)


def _ended(code: int, seconds: float, out: Path, error: Path) -> Ended:
    ended = Ended(code, seconds, out.read_text(), error.read_text())
    out.unlink()
    error.unlink()
    return ended


@dataclass(frozen=True)
class User:
    """Somebody with a home and an environment, whose storage is called `here`."""

    zygote: Zygote
    home: Path
    env: Mapping[str, str]

    def tries(self, *words: str, kill: float | None = None, nobody: bool = False) -> Ended:
        """Run a command, however it ends."""
        return self.zygote.run(self.home, self.env, *words, kill=kill, nobody=nobody)

    def run(self, *words: str) -> Ended:
        """Run a command that must succeed."""
        ended = self.tries(*words)
        assert ended.code == 0, ended.error
        return ended

    def refused(self, *words: str, nobody: bool = False) -> Ended:
        """Run a command that must say in one line what is wrong, and end with a code that is not 0."""
        ended = self.tries(*words, nobody=nobody)
        assert ended.code > 0, ended.out
        assert ended.error.startswith("hoist: error: "), ended.error
        return ended

    def with_env(self, **more: str) -> User:
        """The same user with other variables."""
        return User(self.zygote, self.home, {**self.env, **more})
