"""A storage behind a read cache: what is missing comes from the origin once, for all who wait for it.

A model that is being brought has a *front*: how far its bytes are there. Readers behind the front read what is there at
their own share; those who catch up with it go on at its speed, and are done with it. All fronts advance alike, at the
least of what the origin gives each, of what the cache's own link gives a reader, and of the fastest reader's cap.
So a reader of a class catches up when the clock of its class is ahead of theirs by as much as it was behind.

A cache may have only one reader stream with the front. Others who are within a slice of it sleep for `look_again` seconds
before they look whether there is more (nginx: half a second), as they get whole slices only.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from hoist.advise.simulate.fair import Queue, Shares
from hoist.advise.simulate.fronts import Fronts
from hoist.advise.simulate.medium import Curve

_DONE, _CATCHES_UP, _FRONT, _WAKES = "a reader is done", "a reader catches up", "a model is there", "a reader wakes"
# A front is faster than a reader only if it is so by more than rounding.
_FASTER = 1 + 1e-9


@dataclass(slots=True)
class _Reader:
    """`beyond` are its bytes after those of the front's model: a second read's. `asleep`: what it misses while it sleeps."""

    model: int
    kind: int
    beyond: float
    at_front: bool = False
    asleep: float | None = None


class ReadCache:
    """The cache gives `capacity` to all its readers, and its origin `origin_rate`; `sizes` are the models'.

    It keeps `room` bytes, and drops what was read least recently, but for what somebody reads. A model that nobody reads
    any more stops coming, and goes on when somebody does.
    """

    def __init__(
        self,
        capacity: float,
        origin_rate: float,
        sizes: list[float],
        room: float = inf,
        look_again: float = 0.0,
        slice_size: float = 0.0,
    ) -> None:
        self._origin_rate, self._sizes, self._look_again = origin_rate, sizes, look_again
        self._slice = slice_size if look_again else 0.0
        self._shares = Shares(capacity)
        # By kind of reader, which is by cap: its class while it is behind the front or needs none, and that at the front.
        self._kinds: dict[float, int] = {}
        self._caps: list[float] = []
        self._behind: list[int] = []
        self._at: list[int] = []
        self._chases: list[Queue] = []
        self._readers: dict[int, _Reader] = {}
        self._of_model: dict[int, set[int]] = {}
        self._leaders: dict[int, int] = {}
        self._sleeping: list[tuple[float, int]] = []
        self._fronts = Fronts(sizes, room, self._of_model)
        self.due, self._cause, self._which = inf, "", -1
        self.curve, self.origin_curve = Curve(), Curve()

    @property
    def origin_bytes(self) -> float:
        """What has left the origin, for models that came whole, or stopped."""
        return self._fronts.origin_bytes

    def enter(self, now: float, flow: int, size: float, model: int, cap: float) -> None:
        """Begin to read; what is missing begins to come."""
        self._advance(now)
        # Less than the model is its end, more is a second read.
        beyond = max(0.0, size - self._sizes[model])
        reader = self._readers[flow] = _Reader(model, self._kind(cap), beyond)
        self._of_model.setdefault(model, set()).add(flow)
        self._fronts.bring(model)
        self._place(flow, reader, size)
        self._plan()

    def leave(self, now: float, flow: int) -> float:
        """Stop reading."""
        self._advance(now)
        left = self._drop(flow)
        self._forget(flow)
        self._plan()
        return left

    def change(self, now: float, flow: int, cap: float) -> None:
        """Go on with another cap; at the front it stays there."""
        self._advance(now)
        reader, kind = self._readers[flow], self._kind(cap)
        if reader.asleep is not None or kind == reader.kind:
            reader.kind = kind
            return
        at_front, left = reader.at_front, self._drop(flow)
        reader.kind = kind
        if at_front:
            self._join_front(reader)
        else:
            self._read(flow, reader, left)
        self._plan()

    def take(self, now: float) -> list[int]:
        """Let it happen; the readers that are done."""
        self._advance(now)
        cause, which = self._cause, self._which
        done: list[int] = []
        if self._fronts:
            for model in self._fronts.arrived(cause == _FRONT):
                done += self._complete(model)
            for kind, chase in enumerate(self._chases):
                ahead, mark = self._ahead(kind), chase.first()
                if mark <= ahead or (cause == _CATCHES_UP and which == kind):
                    for flow in chase.take(max(ahead, mark)):
                        self._catch_up(flow)
        while self._sleeping and self._sleeping[0][0] <= now:
            self._wake(*heappop(self._sleeping))
        # Rounding must not leave the one that is due a hair before it.
        for flow in self._shares.take(sure=cause == _DONE):
            self._chases[self._readers[flow].kind].marks.pop(flow, None)
            done.append(flow)
        for flow in done:
            self._forget(flow)
        self._plan()
        return done

    def _kind(self, cap: float) -> int:
        kind = self._kinds.setdefault(cap, len(self._caps))
        if kind == len(self._caps):
            self._caps.append(cap)
            self._behind.append(self._shares.open(cap))
            self._at.append(self._shares.open(cap))
            self._chases.append(Queue())
        return kind

    def _advance(self, now: float) -> None:
        passed = now - self._shares.now
        if passed > 0:
            self._fronts.advance(passed)
            self._shares.advance(now)

    def _plan(self) -> None:
        """Share anew, and see what happens next."""
        shares, fronts, coming = self._shares, self._fronts, len(self._fronts)
        if coming:
            each = self._origin_rate / coming
            for kind, number in enumerate(self._at):
                shares.set_cap(number, min(self._caps[kind], each))
            shares.plan()
            fronts.speed = min(max(self._caps), shares.level, each)
            self._fall_behind()
        else:
            fronts.speed = 0.0
            shares.plan()
        self.curve.note(shares.now, shares.total)
        self.origin_curve.note(shares.now, fronts.speed * coming)
        after, self._cause = shares.soonest, _DONE
        # What is there is there before somebody has caught up with it.
        if coming and fronts.due() <= after:
            after, self._cause = fronts.due(), _FRONT
        for kind in range(len(self._chases) if coming else 0):
            catch = self._until_caught(kind)
            if catch < after:
                after, self._cause, self._which = catch, _CATCHES_UP, kind
        self.due = shares.now + after
        if self._sleeping and self._sleeping[0][0] < self.due:
            self.due, self._cause = max(shares.now, self._sleeping[0][0]), _WAKES

    def _ahead(self, kind: int) -> float:
        """How far the clock of a kind's readers is ahead of the fronts'."""
        return self._shares.clocks[self._behind[kind]] - self._fronts.clock

    def _until_caught(self, kind: int) -> float:
        """The seconds until the first reader of a kind reaches its front."""
        faster = self._shares.rates[self._behind[kind]] - self._fronts.speed
        if faster <= 0:
            return inf
        return max(0.0, (self._chases[kind].first() - self._ahead(kind)) / faster)

    def _fall_behind(self) -> None:
        """Readers whose own cap is below the speed of the fronts cannot stay there."""
        for kind, number in enumerate(self._at):
            if self._shares.counts[number] and self._fronts.speed > self._caps[kind] * _FASTER:
                for flow, reader in self._readers.items():
                    if reader.at_front and reader.kind == kind:
                        self._read(flow, reader, self._drop(flow))
                # They have the rate that they had at the front.
                self._shares.rates[self._behind[kind]] = self._shares.rates[number]

    def _complete(self, model: int) -> list[int]:
        """The model is there: who streamed with the front is done, but for a second read."""
        self._leaders.pop(model, None)
        done = []
        for flow in sorted(self._of_model[model]):
            reader = self._readers[flow]
            if reader.at_front:
                left = self._drop(flow)
                if reader.beyond > 0:
                    self._read(flow, reader, left)
                else:
                    done.append(flow)
            else:
                self._chases[reader.kind].marks.pop(flow, None)
        return done

    def _place(self, flow: int, reader: _Reader, left: float) -> None:
        """It misses `left` bytes, and reads them or waits for them."""
        missing = self._fronts.missing(reader.model)
        behind = left - reader.beyond - missing
        if missing <= 0 or behind > self._slice:
            self._read(flow, reader, left)
        elif not self._streams(flow, reader):
            self._sleep(flow, reader, left)
        elif behind > 0:
            self._read(flow, reader, left)
        else:
            self._join_front(reader)

    def _streams(self, flow: int, reader: _Reader) -> bool:
        """Whether it may stream with the front: all may where nobody sleeps, else the first who asks."""
        return not self._look_again or self._leaders.setdefault(reader.model, flow) == flow

    def _join_front(self, reader: _Reader) -> None:
        reader.at_front = True
        self._shares.counts[self._at[reader.kind]] += 1

    def _sleep(self, flow: int, reader: _Reader, left: float) -> None:
        reader.asleep = left
        heappush(self._sleeping, (self._shares.now + self._look_again, flow))

    def _wake(self, at: float, flow: int) -> None:
        """It looks again, if it still reads."""
        reader = self._readers.get(flow)
        if reader is not None and reader.asleep is not None:
            left, reader.asleep = reader.asleep, None
            self._place(flow, reader, left)

    def _read(self, flow: int, reader: _Reader, left: float) -> None:
        """Have it read at its own pace, and catch up with the front if there is one."""
        self._shares.add(self._behind[reader.kind], flow, left)
        missing = self._fronts.missing(reader.model)
        if missing > 0:
            behind = left - reader.beyond - missing
            if self._look_again and self._leaders.get(reader.model) != flow:
                behind -= self._slice
            self._chases[reader.kind].add(flow, self._ahead(reader.kind) + max(0.0, behind))

    def _catch_up(self, flow: int) -> None:
        reader, left = self._readers[flow], self._drop(flow)
        if not self._streams(flow, reader):
            self._sleep(flow, reader, left)
        elif self._slice and left - reader.beyond - self._fronts.missing(reader.model) > self._slice / 2:
            # Nobody streams any more: it goes on until it is at the front itself.
            self._read(flow, reader, left)
        else:
            self._join_front(reader)

    def _drop(self, flow: int) -> float:
        """Take it from where it reads; its bytes that are missing."""
        reader = self._readers[flow]
        if reader.asleep is not None:
            return reader.asleep
        if reader.at_front:
            reader.at_front = False
            self._shares.counts[self._at[reader.kind]] -= 1
            return self._fronts.missing(reader.model) + reader.beyond
        self._chases[reader.kind].marks.pop(flow, None)
        return self._shares.drop(self._behind[reader.kind], flow)

    def _forget(self, flow: int) -> None:
        """It reads no more; a model that nobody reads stops coming."""
        model = self._readers.pop(flow).model
        if self._leaders.get(model) == flow:
            del self._leaders[model]
        readers = self._of_model[model]
        readers.discard(flow)
        if not readers:
            del self._of_model[model]
            self._fronts.stop(model)
        self._fronts.trim()
