"""A storage behind a read cache: what is missing comes from the origin once, for all who wait for it.

A model that is being brought has a *front*: how far its bytes are there. Readers behind the front read what is there at
their own share; those who catch up with it go on at its speed, and are done with it. All fronts advance alike, at the
least of what the origin gives each, of what the cache's own link gives a reader, and of the fastest reader's cap. So one
clock serves all fronts, and a reader of a class catches up when the clock of its class is ahead of it by as much as it
was behind.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import inf

from hoist.advise.simulate.fair import Queue
from hoist.advise.simulate.medium import Classes, Curve

_DONE, _CATCHES_UP, _FRONT = "a reader is done", "a reader catches up", "a model is there"
# A front is faster than a reader only if it is so by more than rounding.
_FASTER = 1 + 1e-9


@dataclass(slots=True)
class _Reader:
    """`beyond` are its bytes after the front's end, where it waits at the front: those of a second read."""

    model: int
    kind: int
    at_front: bool = False
    beyond: float = 0.0


class ReadCache:
    """The cache gives `capacity` to all its readers, and its origin `origin_rate`; `sizes` are the models'.

    It keeps `room` bytes, and drops what was read least recently; models that are on their way stay, and so does what
    somebody has begun to read. One that nobody reads any more stops coming, and goes on when somebody does.
    """

    def __init__(self, capacity: float, origin_rate: float, sizes: list[float], room: float = inf) -> None:
        self.origin_bytes = 0.0
        self._origin_rate, self._sizes, self._room = origin_rate, sizes, room
        self._classes = Classes(capacity)
        self._shares = self._classes.shares
        # By kind of reader, which is by cap: its class while it is behind the front or needs none, and that at the front.
        self._kinds: dict[float, int] = {}
        self._caps: list[float] = []
        self._behind: list[int] = []
        self._at: list[int] = []
        self._chases: list[Queue] = []
        self._most_cap = 0.0
        self._readers: dict[int, _Reader] = {}
        self._of_model: dict[int, set[int]] = {}
        self._there: OrderedDict[int, float] = OrderedDict()
        self._used = 0.0
        self._fronts = Queue()
        # Of models that stopped coming, what is missing; of those that come, what was missing when they began to.
        self._left: dict[int, float] = {}
        self._wanted: dict[int, float] = {}
        self._clock = self._speed = 0.0
        self._due, self._cause, self._which = inf, "", -1
        self._curve, self._origin_curve = Curve(), Curve()

    def enter(self, now: float, flow: int, size: float, model: int, cap: float) -> None:
        """Begin to read; what is missing begins to come."""
        self._advance(now)
        kind = self._kind(cap)
        reader = self._readers[flow] = _Reader(model, kind)
        self._of_model.setdefault(model, set()).add(flow)
        if self._need(model):
            missing = self._fronts.marks[model] - self._clock
            # Less than the model is its end, more is a second read.
            first = min(size, self._sizes[model])
            if missing >= first:
                self._join_front(flow, reader, size - first)
            else:
                self._read(flow, reader, size)
                self._chase(flow, reader, first - missing)
        else:
            self._read(flow, reader, size)
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
        reader = self._readers[flow]
        kind = self._kind(cap)
        if kind == reader.kind:
            return
        at_front, beyond, behind = reader.at_front, reader.beyond, self._behind_by(flow, reader)
        left = self._drop(flow)
        reader.kind = kind
        if at_front:
            self._join_front(flow, reader, beyond)
        else:
            self._read(flow, reader, left)
            if behind is not None:
                self._chase(flow, reader, behind)
        self._plan()

    def due(self) -> float:
        """When a reader is done, or catches up, or a model is there."""
        return self._due

    def take(self, now: float) -> list[int]:
        """Let it happen; the readers that are done."""
        self._advance(now)
        shares, cause, which = self._shares, self._cause, self._which
        # Rounding must not leave the one that is due a hair before it.
        if cause == _DONE:
            shares.clocks[which] = max(shares.clocks[which], self._classes.queues[which].first())
        done: list[int] = []
        if cause == _FRONT:
            self._clock = max(self._clock, self._fronts.first())
        for model in self._fronts.take(self._clock):
            done += self._complete(model)
        for kind, chase in enumerate(self._chases):
            ahead = shares.clocks[self._behind[kind]] - self._clock
            mark = chase.first()
            if mark <= ahead or (cause == _CATCHES_UP and which == kind):
                for flow in chase.take(max(ahead, mark)):
                    self._catch_up(flow)
        for number in self._behind:
            for flow in self._classes.queues[number].take(shares.clocks[number]):
                shares.counts[number] -= 1
                self._chases[self._readers[flow].kind].marks.pop(flow, None)
                done.append(flow)
        for flow in done:
            self._forget(flow)
        self._plan()
        return done

    def curve(self) -> Curve:
        """All readers together."""
        return self._curve

    def origin_curve(self) -> Curve | None:
        """What the origin gave."""
        return self._origin_curve

    def _kind(self, cap: float) -> int:
        found = self._kinds.get(cap)
        if found is None:
            found = self._kinds[cap] = len(self._caps)
            self._caps.append(cap)
            self._behind.append(self._classes.open(cap))
            self._at.append(self._classes.open(cap))
            self._chases.append(Queue())
            self._most_cap = max(self._most_cap, cap)
        return found

    def _advance(self, now: float) -> None:
        passed = now - self._shares.now
        if passed > 0:
            self._clock += self._speed * passed
            self._shares.advance(now)

    def _plan(self) -> None:
        """Share anew, and see what happens next."""
        shares, coming = self._shares, len(self._fronts.marks)
        each = self._origin_rate / coming if coming else inf
        if coming:
            for kind, number in enumerate(self._at):
                shares.set_cap(number, min(self._caps[kind], each))
        shares.reshare()
        self._speed = min(self._most_cap, shares.level, each) if coming else 0.0
        if coming:
            self._fall_behind()
        self._curve.note(shares.now, shares.total)
        self._origin_curve.note(shares.now, self._speed * coming)
        after, self._which = self._classes.first()
        self._cause = _DONE
        if coming:
            front = (self._fronts.first() - self._clock) / self._speed
            # What is there is there before somebody has caught up with it.
            if front <= after:
                after, self._cause = max(0.0, front), _FRONT
            for kind, chase in enumerate(self._chases):
                number = self._behind[kind]
                faster = shares.rates[number] - self._speed
                mark = chase.first() if faster > 0 else inf
                if mark < inf and shares.counts[number]:
                    catch = (mark - (shares.clocks[number] - self._clock)) / faster
                    if catch < after:
                        after, self._cause, self._which = max(0.0, catch), _CATCHES_UP, kind
        self._due = shares.now + after

    def _fall_behind(self) -> None:
        """Readers whose own cap is below the speed of the fronts cannot stay there."""
        for kind, number in enumerate(self._at):
            if self._shares.counts[number] and self._speed > self._caps[kind] * _FASTER:
                for flow, reader in [(f, r) for f, r in self._readers.items() if r.at_front and r.kind == kind]:
                    self._read(flow, reader, self._drop(flow))
                    self._chase(flow, reader, 0.0)
                # It has the rate that it had at the front.
                self._shares.rates[self._behind[kind]] = self._shares.rates[number]

    def _need(self, model: int) -> bool:
        """Whether the model is on its way, for which it is set on its way if it is not there."""
        if model in self._there:
            self._there.move_to_end(model)
            if model not in self._left:
                return model in self._fronts.marks
        else:
            self._there[model] = self._sizes[model]
            self._used += self._sizes[model]
            self._make_room()
        left = self._left.pop(model, self._sizes[model])
        if left > 0:
            self._fronts.add(model, self._clock + left)
            self._wanted[model] = left
        return left > 0

    def _make_room(self) -> None:
        while self._used > self._room:
            old = next((model for model in self._there if model not in self._of_model), None)
            if old is None:
                return
            self._used -= self._there.pop(old)
            self._left.pop(old, None)

    def _complete(self, model: int) -> list[int]:
        """The model is there: who waited for it at the front is done, but for a second read."""
        self.origin_bytes += self._wanted.pop(model)
        done = []
        for flow in sorted(self._of_model[model]):
            reader = self._readers[flow]
            if reader.at_front:
                beyond = reader.beyond
                self._drop(flow)
                if beyond > 0:
                    self._read(flow, reader, beyond)
                else:
                    done.append(flow)
            else:
                self._chases[reader.kind].marks.pop(flow, None)
        return done

    def _read(self, flow: int, reader: _Reader, left: float) -> None:
        """Have it read at its own pace."""
        number = self._behind[reader.kind]
        reader.at_front = False
        self._shares.counts[number] += 1
        self._classes.queues[number].add(flow, self._shares.clocks[number] + left)

    def _chase(self, flow: int, reader: _Reader, behind: float) -> None:
        ahead = self._shares.clocks[self._behind[reader.kind]] - self._clock
        self._chases[reader.kind].add(flow, ahead + behind)

    def _behind_by(self, flow: int, reader: _Reader) -> float | None:
        """How far it is behind the front; None if there is none, or it is there."""
        mark = self._chases[reader.kind].marks.get(flow)
        if mark is None:
            return None
        return max(0.0, mark - (self._shares.clocks[self._behind[reader.kind]] - self._clock))

    def _join_front(self, flow: int, reader: _Reader, beyond: float) -> None:
        reader.at_front, reader.beyond = True, max(0.0, beyond)
        self._shares.counts[self._at[reader.kind]] += 1

    def _catch_up(self, flow: int) -> None:
        reader = self._readers[flow]
        number = self._behind[reader.kind]
        self._shares.counts[number] -= 1
        left = self._classes.queues[number].drop(flow) - self._shares.clocks[number]
        self._join_front(flow, reader, left - (self._fronts.marks[reader.model] - self._clock))

    def _drop(self, flow: int) -> float:
        """Take it from where it reads; its bytes that are missing."""
        reader = self._readers[flow]
        if reader.at_front:
            self._shares.counts[self._at[reader.kind]] -= 1
            front = self._fronts.marks.get(reader.model, self._clock) - self._clock
            return max(0.0, front) + reader.beyond
        number = self._behind[reader.kind]
        self._shares.counts[number] -= 1
        self._chases[reader.kind].marks.pop(flow, None)
        return max(0.0, self._classes.queues[number].drop(flow) - self._shares.clocks[number])

    def _forget(self, flow: int) -> None:
        """It reads no more; a model that nobody reads stops coming."""
        model = self._readers.pop(flow).model
        readers = self._of_model[model]
        readers.discard(flow)
        if not readers:
            del self._of_model[model]
            if model in self._fronts.marks:
                left = self._left[model] = max(0.0, self._fronts.drop(model) - self._clock)
                self.origin_bytes += self._wanted.pop(model) - left
        if self._used > self._room:
            self._make_room()
