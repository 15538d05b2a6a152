"""When instances are asked for, and when a platform that scales out only so fast starts them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from hoist.errors import InvalidFile, UsageError

_MOST = 10_000_000


class Arrivals(Protocol):
    """Moments at which instances are asked for."""

    def times(self, random: Random) -> array[float]:
        """They in order, in seconds from 0."""
        ...

    def models(self) -> array[int] | None:
        """Which model each asks for, by number; None: that is drawn by the models' weights."""
        ...


class _Drawn:
    def models(self) -> array[int] | None:
        """None: models are drawn."""
        return None


@dataclass(frozen=True, slots=True)
class Burst(_Drawn):
    """`instances` at once, at second `at`."""

    instances: int
    at: float = 0.0

    def __post_init__(self) -> None:
        _check(self.instances, self.at)

    def times(self, random: Random) -> array[float]:
        """All the same."""
        return array("d", [self.at]) * self.instances


@dataclass(frozen=True, slots=True)
class Schedule(_Drawn):
    """Steps of (second at which it begins, instances, seconds over which they are spread evenly; 0: at once)."""

    steps: tuple[tuple[float, int, float], ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise UsageError("a schedule has one step at least")
        for at, instances, over in self.steps:
            _check(instances, at)
            if not over >= 0:
                raise UsageError(f"instances are spread over 0 seconds or more, not {over:g}")
        _check(sum(instances for _, instances, _ in self.steps), 0.0)

    def times(self, random: Random) -> array[float]:
        """Those of all steps, merged."""
        return array("d", sorted(at + over * n / count for at, count, over in self.steps for n in range(count)))


@dataclass(frozen=True, slots=True)
class Poisson(_Drawn):
    """Independent ones, `rate` a second on average, for `seconds`; with `count` exactly so many came."""

    rate: float
    seconds: float
    count: int | None = None

    @classmethod
    def of(cls, count: int, seconds: float) -> Poisson:
        """Exactly so many."""
        return cls(count / seconds if seconds > 0 else 0.0, seconds, count)

    def __post_init__(self) -> None:
        if not (self.rate > 0 and 0 < self.seconds < float("inf")):
            raise UsageError("Poisson arrivals have a rate and a length above 0")
        _check(max(1, int(self.rate * self.seconds)) if self.count is None else self.count, 0.0)

    def times(self, random: Random) -> array[float]:
        """Drawn gap by gap; one at least, as there is no fleet without."""
        if self.count is not None:
            chance, seconds = random.random, self.seconds
            return array("d", sorted([seconds * chance() for _ in range(self.count)]))
        found, at, rate, draw = array("d"), 0.0, self.rate, random.expovariate
        while (at := at + draw(rate)) < self.seconds or not found:
            found.append(at)
        return found


@dataclass(frozen=True, slots=True)
class Trace:
    """Recorded ones: seconds, in any order, and perhaps which model each asked for."""

    seconds: tuple[float, ...]
    of: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.seconds:
            raise UsageError("a trace has one arrival at least")
        _check(len(self.seconds), min(self.seconds))
        assert self.of is None or len(self.of) == len(self.seconds), "a model for each"

    def times(self, random: Random) -> array[float]:
        """As they were recorded, in order."""
        return array("d", sorted(self.seconds))

    def models(self) -> array[int] | None:
        """In the order of `times`."""
        if self.of is None:
            return None
        order = sorted(range(len(self.seconds)), key=self.seconds.__getitem__)
        return array("l", [self.of[n] for n in order])


def parse_trace(text: str, names: Iterable[str], where: str) -> Trace:
    """A trace from lines of `SECONDS` or `SECONDS,MODEL`; `names` are the models' in order.

    A line of headings, empty lines and those that begin with # do not count. Raises InvalidFile, with `where` and the line.
    """
    numbers = {name: number for number, name in enumerate(names)}
    seconds: list[float] = []
    models: list[int] = []
    for line, words in enumerate(text.splitlines(), 1):
        first, _, name = (word.strip() for word in words.partition(","))
        if not first or first.startswith("#"):
            continue
        try:
            at = float(first)
        except ValueError:
            if not seconds and not first[0].isdigit():
                continue
            raise InvalidFile(f"{where}, line {line}: {first[:40]!r} is no time in seconds") from None
        if not 0 <= at < float("inf"):
            raise InvalidFile(f"{where}, line {line}: a time is 0 seconds or more, not {first}")
        if name and name not in numbers:
            raise InvalidFile(f"{where}, line {line}: no model {name[:40]!r}; there are {', '.join(numbers)}")
        seconds.append(at)
        models.append(numbers[name] if name else -1)
    if not seconds:
        raise InvalidFile(f"{where} has no arrivals: write a line of seconds for each")
    if len({model < 0 for model in models}) > 1:
        raise InvalidFile(f"{where}: name the model on each line, or on none")
    return Trace(tuple(seconds), None if models[0] < 0 else tuple(models))


@dataclass(frozen=True, slots=True)
class ScaleOut:
    """How fast a platform starts instances: `burst` at once, then `rate` a second; at most `most` at a time.

    An instance lives for `lifetime` seconds after it has loaded; only then is its place free again.
    """

    burst: int = 1
    rate: float = float("inf")
    most: int | None = None
    lifetime: float = float("inf")

    def __post_init__(self) -> None:
        if self.burst < 1 or not self.rate > 0 or (self.most is not None and self.most < 1) or not self.lifetime >= 0:
            raise UsageError("a scale-out has a burst of 1 at least, a rate above 0, and room for one instance")

    def starts(self, times: array[float]) -> array[float]:
        """When those asked for at `times` (in order) may start: a bucket of `burst` tokens that fills at `rate`."""
        if self.rate == float("inf"):
            return array("d", times)
        step = 1 / self.rate
        found, tolerance = array("d", times), (self.burst - 1) * step
        # When the bucket would be full again, less one token each (GCRA): exact for starts in order.
        due = -float("inf")
        for number, asked in enumerate(times):
            at = found[number] = max(asked, due - tolerance)
            due = max(due, at) + step
        return found


def _check(instances: int, at: float) -> None:
    if not 1 <= instances <= _MOST:
        raise UsageError(f"a simulation has 1 to {_MOST:,} instances, not {instances:,}")
    if not 0 <= at < float("inf"):
        raise UsageError(f"instances start at second 0 or later, not {at:g}")
