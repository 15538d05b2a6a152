"""Threads for what may wait long. They are daemons: one that hangs in a storage never keeps the process from ending."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


class Workers:
    """Runs what it is given in at most `most` threads, started when they are needed."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._threads = 0
        self._open = 0

    def submit(self, action: Callable[[], None]) -> None:
        """Run `action` as soon as a thread is free."""
        with self._lock:
            self._open += 1
            if self._open > self._threads and self._threads < self._most:
                self._threads += 1
                Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._queue.put(action)

    def _work(self) -> None:
        while True:
            action = self._queue.get()
            try:
                action()
            except Exception:  # noqa: BLE001 the next action is another one
                _LOG.exception("an internal error")
            finally:
                with self._lock:
                    self._open -= 1


class Shared(Generic[Result]):
    """One call that several wait for, each as long as it likes."""

    def __init__(self, action: Callable[[], Result]) -> None:
        self._done = Event()
        self._error: BaseException | None = None
        self._result: Result

        def run() -> None:
            try:
                self._result = action()
            except BaseException as error:  # noqa: BLE001 it is raised again where the result is wanted
                self._error = error
            self._done.set()

        self.run = run

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._done.is_set()

    def wait(self, seconds: float | None = None) -> Result:
        """Its result. Raises TimeoutError, and what the call raised."""
        if not self._done.wait(seconds):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result
