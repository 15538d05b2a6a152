"""The events of a fleet: instances start, get ready, read, are done, are over their deadline, and start again."""

from __future__ import annotations

from array import array
from collections import deque
from heapq import heapify, heappop, heappush
from math import inf, log, sqrt
from random import Random

from hoist.advise.simulate.given import SimulationInput
from hoist.advise.simulate.hosts import Coming, Host, Hosts
from hoist.advise.simulate.medium import Curve, Direct, Medium
from hoist.advise.simulate.outcome import Outcome, Times, Usage, price
from hoist.advise.simulate.read_cache import ReadCache

# What an event is, in the last bits of its number; the others are the instance.
_START, _READY, _OVERDUE, _GONE = range(4)


def simulate(given: SimulationInput) -> Outcome:
    """Let the fleet start, and tell what came of it. The same input gives the same outcome."""
    return _Fleet(given).run()


class _Fleet:
    def __init__(self, given: SimulationInput) -> None:
        self._given = given
        storage = given.storage
        # Each thing that is drawn has a stream of its own: changing one leaves the others as they were.
        asked = given.arrivals.times(Random(f"arrivals {given.seed}"))
        self._count = count = len(asked)
        self._models = given.arrivals.models() or _drawn(
            Random(f"models {given.seed}"), [model.weight for model in given.models], count
        )
        self._sizes = [model.size for model in given.models]
        links = _drawn(Random(f"links {given.seed}"), [weight for _, weight in given.links], count)
        caps = [min(storage.instance_rate, rate) for rate, _ in given.links]
        self._caps = array("d", [caps[link] for link in links])
        self._slowness = _slowness(given, count)
        self._jitters = _start_jitters(given, count)
        self._waits = Random(f"retries {given.seed}")
        self._hosts = Hosts(
            count=given.hosts, per_host=given.instances_per_host, link=given.host_link, room=given.host_cache_size
        )
        self._shares, self._linked = given.shares_hosts, given.host_link < inf
        self._medium: Medium = (
            Direct(storage.total_rate)
            if storage.origin_rate is None
            else ReadCache(
                storage.total_rate,
                storage.origin_rate,
                self._sizes,
                room=given.accelerator_size,
                look_again=given.look_again,
                slice_size=given.slice_size,
            )
        )
        # A second read that is the page cache's.
        self._memory_reads = storage.reads - given.medium_reads
        self._times = Times.of(asked)
        self._attempts = array("l", [0]) * count
        self._flowing = bytearray(count)
        self._places = given.scale_out.most
        self._queue: deque[int] = deque()
        self._events: list[tuple[float, int]] = []
        self._lost = self._failed = 0
        self._gpu_seconds = self._storage_bytes = self._end = 0.0

    def run(self) -> Outcome:
        given, times = self._given, self._times
        starts = given.scale_out.starts(times.asked)
        if self._places is None:
            for number, at in enumerate(starts):
                self._begin(at, number)
        else:
            self._events += [(at, number * 4 + _START) for number, at in enumerate(starts)]
        heapify(self._events)
        self._loop()
        usage = Usage(
            instances=self._count,
            starts=self._count + sum(self._attempts),
            gpu_seconds=self._gpu_seconds,
            storage_bytes=self._storage_bytes,
            origin_bytes=self._medium.origin_bytes,
            seconds=self._end,
        )
        origin = self._medium.origin_curve
        return Outcome(
            kind=given.storage.kind,
            times=times,
            usage=usage,
            curve=_plain(self._medium.curve),
            origin_curve=_plain(origin) if origin else None,
            lost_starts=self._lost,
            failed=self._failed,
            cost=price(given.cost, usage),
        )

    def _loop(self) -> None:
        events, medium = self._events, self._medium
        while True:
            due = medium.due
            at = events[0][0] if events else inf
            if due <= at:
                if due == inf:
                    return
                done = medium.take(due)
                self._unlink(due, done)
                for number in done:
                    self._fetched(due, number)
                continue
            at, code = heappop(events)
            number, what = code >> 2, code & 3
            if what == _READY:
                self._ready(at, number)
            elif what == _OVERDUE:
                self._overdue(at, number)
            elif what == _START:
                self._start(at, number)
            else:
                self._free(at)

    def _start(self, now: float, number: int) -> None:
        """It may start as soon as there is a place."""
        if self._places:
            self._places -= 1
            self._begin(now, number)
        else:
            self._queue.append(number)

    def _begin(self, at: float, number: int) -> None:
        """It starts at that moment: nothing but time passes until it is ready to read, or is over its deadline."""
        times, given = self._times, self._given
        if not self._attempts[number]:
            times.started[number] = at
        times.began[number] = at
        slow = self._slowness[number]
        provided = times.provided[number] = at + given.provision * slow
        ready = times.ready[number] = provided + given.storage.setup_seconds * slow + self._jitters[number]
        if given.deadline < inf:
            until = at + given.deadline
            self._events_add(until, number * 4 + _OVERDUE)
            if ready >= until:
                return
        self._events_add(ready, number * 4 + _READY)

    def _events_add(self, at: float, code: int) -> None:
        heappush(self._events, (at, code))

    def _ready(self, now: float, number: int) -> None:
        """It asks for its model: of its host, where that has it, or of the storage."""
        model = self._models[number]
        self._times.served[number] = now
        if not self._shares:
            self._enter(now, number, self._sizes[model] * self._given.medium_reads)
            return
        host = self._hosts.of(number)
        if host.has(model):
            self._from_memory(now, number)
        elif model in host.coming:
            host.coming[model].waiting.append(number)
            self._times.served[number] = inf
        else:
            host.coming[model] = Coming(number)
            self._enter(now, number, host.left.pop(model, self._sizes[model] * self._given.medium_reads))

    def _enter(self, now: float, number: int, size: float) -> None:
        self._flowing[number] = 1
        self._storage_bytes += size
        cap = self._caps[number]
        if self._linked:
            host = self._hosts.of(number)
            host.flows[number] = None
            self._relink(now, host, but=number)
            cap = self._hosts.cap(host, cap)
        self._medium.enter(now, number, size, self._models[number], cap)

    def _relink(self, now: float, host: Host, but: int = -1) -> None:
        """The link of the host has one more or less to carry."""
        for each in host.flows:
            if each != but:
                self._medium.change(now, each, self._hosts.cap(host, self._caps[each]))

    def _unlink(self, now: float, numbers: list[int]) -> None:
        """They read no more, and leave the links of their hosts to the others there."""
        for number in numbers:
            self._flowing[number] = 0
        if self._linked:
            hosts = {id(host): host for host in map(self._hosts.of, numbers)}
            for number in numbers:
                del self._hosts.of(number).flows[number]
            for host in hosts.values():
                self._relink(now, host)

    def _fetched(self, now: float, number: int) -> None:
        """Its bytes are there, also for who waited for them on its host."""
        model = self._models[number]
        size = self._sizes[model]
        if self._shares:
            host = self._hosts.of(number)
            host.keep(model, size)
            for waiting in host.coming.pop(model).waiting:
                self._times.served[waiting] = now
                self._from_memory(now, waiting)
        self._times.fetched[number] = now
        self._loads(now, number, self._memory_reads * size)

    def _from_memory(self, now: float, number: int) -> None:
        self._times.fetched[number] = now
        self._loads(now, number, self._given.storage.reads * self._sizes[self._models[number]])

    def _loads(self, now: float, number: int, memory_bytes: float) -> None:
        """All that is left takes its time, and no more than that; unless the deadline comes first."""
        given, times = self._given, self._times
        loaded = now + memory_bytes / given.memory_rate + given.storage.rest_seconds
        began = times.began[number]
        if loaded - began >= given.deadline:
            return
        times.loaded[number] = loaded
        self._gpu_seconds += loaded - times.provided[number]
        if loaded > self._end:
            self._end = loaded
        if self._places is not None:
            self._events_add(loaded + given.scale_out.lifetime, number * 4 + _GONE)

    def _overdue(self, now: float, number: int) -> None:
        """It has loaded, or is ended; what it has brought of a model stays with its host."""
        if self._times.loaded[number] < inf:
            return
        given = self._given
        if self._flowing[number]:
            left = self._medium.leave(now, number)
            self._storage_bytes -= left
            self._unlink(now, [number])
            if self._shares:
                self._hand_over(now, number, left)
        elif self._times.served[number] == inf:
            self._hosts.of(number).coming[self._models[number]].waiting.remove(number)
        self._lost += 1
        self._end = max(self._end, now)
        times = self._times
        self._gpu_seconds += max(0.0, now - times.provided[number])
        for each in (times.provided, times.ready, times.served, times.fetched):
            each[number] = min(each[number], now)
        if self._attempts[number] < given.retries:
            self._attempts[number] += 1
            wait = given.retry_wait * 2.0 ** (self._attempts[number] - 1) * self._waits.uniform(0.5, 1.5)
            self._begin(now + wait, number)
        else:
            self._failed += 1
            self._free(now)

    def _hand_over(self, now: float, number: int, left: float) -> None:
        """The next one on its host who waits goes on with what is missing."""
        model = self._models[number]
        host = self._hosts.of(number)
        coming = host.coming[model]
        if coming.waiting:
            coming.leader = coming.waiting.pop(0)
            self._times.served[coming.leader] = now
            self._enter(now, coming.leader, left)
        else:
            del host.coming[model]
            host.left[model] = left

    def _free(self, now: float) -> None:
        """A place is free."""
        if self._places is None:
            return
        if self._queue:
            self._begin(now, self._queue.popleft())
        else:
            self._places += 1


def _slowness(given: SimulationInput, count: int) -> array[float]:
    """By how much each instance's provision and set-up take longer than the mean: log-normal, so never less than nothing."""
    found = array("d", [1.0]) * count
    jitter = given.storage.jitter
    if jitter and (given.storage.setup_seconds or given.provision):
        spread = sqrt(log(1 + jitter**2))
        draw = Random(f"set-up {given.seed}").lognormvariate
        for number in range(count):
            found[number] = draw(-spread * spread / 2, spread)
    return found


def _start_jitters(given: SimulationInput, count: int) -> array[float]:
    """For how long each waits besides."""
    if not given.start_jitter:
        return array("d", [0.0]) * count
    chance, most = Random(f"start jitter {given.seed}").random, given.start_jitter
    return array("d", [most * chance() for _ in range(count)])


def _drawn(random: Random, weights: list[float], count: int) -> array[int]:
    """So many choices."""
    if len(weights) == 1:
        return array("l", [0]) * count
    return array("l", random.choices(range(len(weights)), weights, k=count))


def _plain(curve: Curve) -> tuple[array[float], array[float]]:
    return curve.times, curve.rates
