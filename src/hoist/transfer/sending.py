"""Sending the parts of staged files: what is there stays, what the storage holds is copied, the rest is sent and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

from hoist.errors import Cancelled
from hoist.pace import Pace
from hoist.retry import retrying
from hoist.storage.staging import Part, Staged
from hoist.transfer.moved import How, Moved

Views = Callable[[], Iterator[memoryview]]
"""Gives a part's bytes, slice by slice, as often as they are sent."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How the parts of one run are sent. `retry_seconds`: how long a passing error is tried again."""

    moved: Moved
    stop: Event
    retry_seconds: float = 60.0
    pace: Pace | None = None

    def move(self, staged: Staged, part: Part, views: Views, ended: Event) -> How:
        """Have a part where it belongs; how it came there. `ended` cancels it, as `stop` does.

        Raises BeginAnew, Cancelled, what `views` does, and what a storage may.
        """
        return retrying(lambda: self._try(staged, part, views, ended), self.retry_seconds, self.stop)

    def before(self, count: int) -> None:
        """Wait until so many bytes may be sent. Raises Cancelled."""
        if self.pace:
            self.pace.take(count, self.stop)
        if self.stop.is_set():
            raise Cancelled("the publish was cancelled")

    def _try(self, staged: Staged, part: Part, views: Views, ended: Event) -> How:
        how: How
        told = _Told(self.moved)
        if staged.has(part):
            how = "resumed"
        elif part.held and staged.copy(part):
            how = "copied"
        else:
            try:
                how = "sent" if staged.put(part, lambda: self._body(views, told, ended)) else "resumed"
            except BaseException:
                told.take_back()
                raise
        self.moved.count(how, part.size, told=told.bytes)
        return how

    def _body(self, views: Views, told: _Told, ended: Event) -> Iterator[memoryview]:
        told.take_back()
        for view in views():
            self.before(len(view))
            if ended.is_set():
                raise Cancelled("the publish was cancelled")
            yield view
            told.advance(len(view))


class _Told:
    """What the progress was told of one part, so that it can be taken back when the part has to go again."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved
        self.bytes = 0

    def advance(self, count: int) -> None:
        self.bytes += count
        self._moved.advance(count)

    def take_back(self) -> None:
        self._moved.advance(-self.bytes)
        self.bytes = 0
