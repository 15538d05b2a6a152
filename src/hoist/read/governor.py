"""How many requests at once a storage is asked, by all loads of this process together.

A disk, a server on this host and a throttled store want different numbers. The governor starts with what the storage
calls usual, measures the rate in windows of a few rounds, and climbs: more requests while they bring more bytes, fewer
while they bring no less. A store that says it is busy gets half of them, and no new one for as long as it asks
for. Loads that wait get turns by turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Event, Lock

from hoist.config import EngineConfig
from hoist.storage.base import Traits

# A window ends when as many requests as run at once are over, so many times, and not before that many seconds.
_ROUNDS = 1
_WINDOW_SECONDS = 0.1
_STEP = 1.5
# More requests must bring this much more; fewer may bring this much less.
_GAIN = 1.1
_LOSS = 0.97
# With one request, receiving and hashing would take turns.
_LEAST = 2
# A number that was found is tried again after so many windows: other loads come and go.
_SETTLED_WINDOWS = 80
# What is refused within such a time of another refusal was under way then: it says nothing new.
_SAME_SECONDS = 0.25
# A storage that asks for a longer pause is asked again after this, by who begins then: it may have been one bucket's.
_LONGEST_PAUSE = 30.0


@dataclass
class Climb:
    """The search for the best number of requests at once: pure, told of each window's rate."""

    level: int
    most: int
    _best: tuple[int, float] | None = None
    _upwards: bool = True
    _settled: int = 0

    def measured(self, rate: float) -> None:
        """The last window, at `level`, gave `rate` bytes per second: choose the next level."""
        if self._settled:
            self._settled -= 1
            if not self._settled:
                self._best, self._upwards = None, True
            return
        if self._best is None:
            self._try(rate)
            return
        kept, before = self._best
        if rate >= before * (_GAIN if self._upwards else _LOSS):
            self._try(rate)
            return
        self.level = kept
        if self._upwards and kept > _LEAST:
            self._upwards = False
            self._down()
        else:
            self._settle()

    def refused(self) -> None:
        """The storage said that it is busy."""
        self.level = max(min(_LEAST, self.level), self.level // 2)
        self._settle()

    def _try(self, rate: float) -> None:
        """Keep this level as the best so far, and go one step on."""
        # On the way down the bar stays where the best rate put it, or small losses would add up.
        bar = rate if self._upwards or self._best is None else max(rate, self._best[1])
        self._best = (self.level, bar)
        before = self.level
        if self._upwards:
            self.level = min(self.most, int(before * _STEP + 0.5))
        else:
            self._down()
        if self.level == before:
            self._settle()

    def _down(self) -> None:
        self.level = max(min(_LEAST, self.level), int(self.level / _STEP))

    def _settle(self) -> None:
        self._settled = _SETTLED_WINDOWS


@dataclass(eq=False)
class Share:
    """One load's part of a governor."""

    active: int = 0
    waiting: int = 0


@dataclass(eq=False)
class Governor:
    """The requests at one storage. `fixed`: the number was configured, and stays."""

    climb: Climb
    memory_bytes: int
    fixed: bool = False
    _condition: Condition = field(default_factory=Condition)
    _shares: list[Share] = field(default_factory=list)
    _active: int = 0
    _active_bytes: int = 0
    _window: tuple[float, int, int] = (0.0, 0, 0)
    _refused_at: float = float("-inf")
    _paused_until: float = float("-inf")
    _throttled: int = 0

    @property
    def in_use(self) -> bool:
        """Whether a load has a share."""
        return bool(self._shares)

    @contextmanager
    def share(self) -> Iterator[Share]:
        """A place among the loads, for as long as one runs."""
        share = Share()
        with self._condition:
            self._shares.append(share)
        try:
            yield share
        finally:
            with self._condition:
                self._shares.remove(share)
                self._condition.notify_all()

    def enter(self, share: Share, size: int, stop: Event) -> bool:
        """Wait for a turn to move `size` bytes; False if `stop` was set meanwhile."""
        with self._condition:
            share.waiting += 1
            try:
                while not self._may_enter(share, size):
                    if stop.is_set():
                        return False
                    self._condition.wait(0.1)
            finally:
                share.waiting -= 1
            share.active += 1
            self._active += 1
            self._active_bytes += size
            return True

    def leave(self, share: Share, size: int, *, done: bool) -> None:
        """A turn is over; `done` if its bytes came."""
        with self._condition:
            share.active -= 1
            self._active -= 1
            self._active_bytes -= size
            if done and not self.fixed:
                self._measure(size)
            self._wake()

    def refused(self, pause_seconds: float | None = None) -> None:
        """The storage said that it is busy, and perhaps for how long: no request begins until then."""
        with self._condition:
            self._slow_down(time.monotonic(), pause_seconds or 0.0)

    def heard(self, throttled: int) -> None:
        """So many answers of the storage have said, up to now, that it holds them back: with more of them, ask for less."""
        if throttled == self._throttled:
            return
        with self._condition:
            if throttled > self._throttled:
                self._slow_down(time.monotonic(), 0.0)
            self._throttled = throttled

    def _slow_down(self, now: float, pause_seconds: float) -> None:
        self._paused_until = max(self._paused_until, now + min(pause_seconds, _LONGEST_PAUSE))
        if now - self._refused_at >= _SAME_SECONDS and not self.fixed:
            self.climb.refused()
            self._window = (now, 0, 0)
        self._refused_at = now

    def _wake(self) -> None:
        """Wake those who may go on: of one load's any, as many as there is room for; of several, all have to look."""
        waiting = [share for share in self._shares if share.waiting]
        if len(waiting) == 1:
            self._condition.notify(max(1, self.climb.level - self._active))
        elif waiting:
            self._condition.notify_all()

    def _may_enter(self, share: Share, size: int) -> bool:
        if time.monotonic() < self._paused_until:
            return False
        if self._active == 0:
            return True
        if self._active >= self.climb.level or self._active_bytes + size > self.memory_bytes:
            return False
        # Whoever has the fewest requests under way goes next.
        return all(share.active <= other.active for other in self._shares if other.waiting)

    def _measure(self, size: int) -> None:
        began, count, moved = self._window
        now = time.monotonic()
        busy = self._active + 1 >= self.climb.level or any(share.waiting for share in self._shares)
        if not began or not busy:
            # Where fewer requests than allowed are under way, the rate says nothing of the level.
            self._window = (now, 0, 0)
            return
        count, moved = count + 1, moved + size
        if count >= _ROUNDS * self.climb.level and now - began >= _WINDOW_SECONDS:
            self.climb.measured(moved / (now - began))
            began, count, moved = now, 0, 0
        self._window = (began, count, moved)


# A process that reads from ever new folders must not remember them all.
_MOST_GOVERNORS = 256
_GOVERNORS: dict[tuple[str, int | None, int], Governor] = {}
_LOCK = Lock()


def governor_of(where: str, traits: Traits, config: EngineConfig) -> Governor:
    """The one governor of this process for a storage, under these limits."""
    with _LOCK:
        key = (where, config.connections, config.memory_bytes)
        if key not in _GOVERNORS:
            if len(_GOVERNORS) >= _MOST_GOVERNORS:
                for idle in [key for key, governor in _GOVERNORS.items() if not governor.in_use]:
                    del _GOVERNORS[idle]
            usual = config.connections or traits.connections
            most = config.connections or max(traits.connections, traits.most_connections)
            _GOVERNORS[key] = Governor(Climb(usual, most), config.memory_bytes, fixed=config.connections is not None)
        return _GOVERNORS[key]
