"""Who fetches: what readers wait for at once, and besides, as much as the storage takes, what they will want next."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from threading import Condition, Thread

from hoist.config import EngineConfig
from hoist.mount.content import Answer, Content
from hoist.read.engine import Engine
from hoist.read.governor import governor_of

_LOG = logging.getLogger(__name__)
_MOST_THREADS = 48
# So many threads are never at a prefetch.
_RESERVED = 8
# A prefetch gives up sooner: it is tried again.
_PREFETCH_RETRY_SECONDS = 5.0
# A thread that finds nothing looks again for prefetches that paused.
_IDLE_SECONDS = 0.5


class Fetcher:
    """The fetching threads of a mount, started when they are needed."""

    def __init__(self, config: EngineConfig, timeout_seconds: float) -> None:
        self._prefetching = replace(config, retry_seconds=min(timeout_seconds, _PREFETCH_RETRY_SECONDS))
        # Another limit is another governor: what is asked for now waits for no turn behind the prefetch.
        self._urgent = Engine(replace(config, retry_seconds=timeout_seconds, memory_bytes=config.memory_bytes + 1))
        self._ahead = Engine(self._prefetching)
        self._condition = Condition()
        self._demands: deque[tuple[Content, int, int]] = deque()
        self._followed: deque[Content] = deque()
        self._running: dict[str, int] = {}
        self._prefetches = 0
        self._threads = 0
        self._idle = 0
        self._closed = False

    def read(self, content: Content, begin: int, end: int, answer: Answer) -> None:
        """Have `answer` told of the bytes, fetching what is missing ahead of everything else."""
        runs = content.wait(begin, end, answer)
        with self._condition:
            for first, last in runs:
                self._demands.append((content, first, last))
            self._wake(len(runs) + 1)

    def follow(self, content: Content) -> None:
        """Prefetch a file from its start, while it is followed."""
        content.nudge = self._nudge
        with self._condition:
            self._followed.append(content)
            self._wake(2)

    def unfollow(self, content: Content) -> None:
        """Start nothing more of it."""
        with self._condition:
            self._followed = deque(each for each in self._followed if each is not content)

    def close(self) -> None:
        """Let the threads end."""
        with self._condition:
            self._closed = True
            self._demands.clear()
            self._followed.clear()
            self._condition.notify_all()

    def _nudge(self) -> None:
        with self._condition:
            self._wake(1)

    def _wake(self, count: int) -> None:
        for _ in range(count):
            if self._idle:
                self._condition.notify()
            elif self._threads < _MOST_THREADS:
                self._threads += 1
                Thread(target=self._work, name=f"hoist-fetch-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._condition:
                task = self._next()
                while task is None and not self._closed:
                    self._idle += 1
                    self._condition.wait(_IDLE_SECONDS if self._followed and self._idle == 1 else None)
                    self._idle -= 1
                    task = self._next()
                if task is None:
                    return
                if task[3] and self._idle == 0:
                    # There may be more to prefetch: each that begins calls the next.
                    self._wake(1)
                elif task[3]:
                    self._condition.notify()
            self._carry_out(*task)

    def _carry_out(self, content: Content, first: int, last: int, ahead: bool) -> None:
        where = content.source.where
        try:
            content.fetch(self._ahead if ahead else self._urgent, first, last)
        except Exception:  # noqa: BLE001 a thread that dies would leave readers waiting
            _LOG.exception("an internal error while fetching %s", content.source.name)
        finally:
            with self._condition:
                if ahead:
                    self._running[where] -= 1
                    self._prefetches -= 1
                    if self._idle:
                        self._condition.notify()

    def _next(self) -> tuple[Content, int, int, bool] | None:
        """What is to be fetched now; each file that is followed in turn."""
        if self._closed:
            return None
        if self._demands:
            return (*self._demands.popleft(), False)
        if self._prefetches >= _MOST_THREADS - _RESERVED:
            return None
        for _ in range(len(self._followed)):
            content = self._followed[0]
            self._followed.rotate(-1)
            where = content.source.where
            if self._running.get(where, 0) >= self._level(content):
                continue
            chunk = content.next_chunk()
            if chunk is not None:
                self._running[where] = self._running.get(where, 0) + 1
                self._prefetches += 1
                return (content, *chunk, True)
        return None

    def _level(self, content: Content) -> int:
        """How many requests at once serve the storage best, as far as is known."""
        source = content.source
        return governor_of(source.where, source.traits, self._prefetching).climb.level
