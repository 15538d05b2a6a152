"""Models on their way from an origin to a read cache, and those that are there."""

from __future__ import annotations

from collections.abc import Container
from math import inf

from hoist.advise.simulate.fair import Queue
from hoist.advise.simulate.kept import Kept


class Fronts:
    """A *front* is how far a model's bytes are there. All that advance do so at `speed`, so one `clock` serves them all.

    `origin_bytes` have left the origin for models that came whole, or stopped. `used` are models that nothing drops.
    """

    def __init__(self, sizes: list[float], room: float, used: Container[int]) -> None:
        self.clock = self.speed = 0.0
        self.origin_bytes = 0.0
        self._sizes, self._used = sizes, used
        self._kept = Kept(room)
        self._queue = Queue()
        # Of models that stopped coming, what is missing; of those that come, what was missing when they began to.
        self._left: dict[int, float] = {}
        self._wanted: dict[int, float] = {}

    def __len__(self) -> int:
        """How many models come now."""
        return len(self._queue.marks)

    def __contains__(self, model: int) -> bool:
        return model in self._queue.marks

    def advance(self, seconds: float) -> None:
        """So much time has passed."""
        self.clock += self.speed * seconds

    def missing(self, model: int) -> float:
        """The bytes of a model that are still to come; 0 if it is there."""
        return max(0.0, self._queue.marks.get(model, -inf) - self.clock)

    def due(self) -> float:
        """The seconds until the first model is there."""
        return max(0.0, (self._queue.first() - self.clock) / self.speed) if self._queue.marks else inf

    def bring(self, model: int) -> None:
        """See to it that the model is there, or on its way."""
        if self._kept.use(model):
            if model not in self._left:
                return
        else:
            self._kept.add(model, self._sizes[model])
            self.trim()
        left = self._left.pop(model, self._sizes[model])
        if left > 0:
            self._queue.add(model, self.clock + left)
            self._wanted[model] = left

    def arrived(self, first: bool) -> list[int]:
        """The models that are there now; `first`: the first one is, whatever rounding has made of it."""
        if first:
            self.clock = max(self.clock, self._queue.first())
        found = self._queue.take(self.clock)
        for model in found:
            self.origin_bytes += self._wanted.pop(model)
        return found

    def stop(self, model: int) -> None:
        """Nobody reads it any more; if it was coming, it stops."""
        if model in self:
            left = self._left[model] = max(0.0, self._queue.drop(model) - self.clock)
            self.origin_bytes += self._wanted.pop(model) - left

    def trim(self) -> None:
        """Drop what there is no room for."""
        for model in self._kept.trim(self._used):
            self._left.pop(model, None)
