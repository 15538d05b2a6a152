"""Looking at storages, once or again and again: all at once, each in its own time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread

from hoist.config import Config, load_config
from hoist.errors import HoistError, UsageError
from hoist.status.look import Look, Wish
from hoist.status.meters import Meter, Reading, Sample, reading
from hoist.status.sizes import Sizes
from hoist.status.state import Status
from hoist.sync.find import find_plan, means_plan, plan_of
from hoist.sync.plan import SyncPlan

LIMIT_SECONDS = 15.0
SAMPLE_SECONDS = 1.0
_METER_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to look: `limit_seconds` for the storages, all at once; `sample_seconds` over which reads are counted where no
    earlier look has counted them; `probe` reads at most 64 MiB of each; `metrics_of` are URLs of metrics, by storage."""

    limit_seconds: float = LIMIT_SECONDS
    sample_seconds: float = SAMPLE_SECONDS
    probe: bool = False
    metrics_of: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """What is looked at: addresses of storages, the plans among them, and the configuration that knows them."""

    addresses: tuple[str, ...]
    plans: tuple[SyncPlan, ...]
    config: Config


def subject_of(words: Sequence[str], config: Config | None = None) -> Subject:
    """What words mean: names of plans, files with one (`./production.toml`) and addresses of storages; none: all that are
    configured. Of a logical storage its members are meant. A lag is told by each plan whose source and target are both
    among them.

    Raises InvalidConfig, UsageError where there is nothing to look at.
    """
    config = config or load_config()
    addresses: list[str] = []
    plans: list[SyncPlan] = []
    for word in words:
        if word not in config.storages and means_plan(word, config):
            plan, config = find_plan(word, config)
            plans.append(plan)
            addresses += [plan.source, *plan.targets]
        else:
            addresses += _members(word, config)
    if not plans:
        plans = [plan_of(name, config) for name in sorted(config.plans)]
    if not words:
        addresses = [each for name in sorted(config.storages) for each in _members(name, config)]
        addresses += [each for plan in plans for each in (plan.source, *plan.targets)]
    if not addresses:
        raise UsageError(
            "no storage is configured or named: add [storage.NAME] with its url to hoist.toml, or name one: "
            "hoist status /srv/models"
        )
    return Subject(tuple(dict.fromkeys(addresses)), tuple(plans), config)


def _members(address: str, config: Config) -> list[str]:
    """The storages themselves, as each has contents and troubles of its own. What is no storage, the look at it tells."""
    try:
        members = config.storage(address).members
    except HoistError:
        members = ()
    return [member.address for member in members] or [address]


class Observer:
    """Looks at storages as often as it is asked to. One that hangs is not asked again until it has answered."""

    def __init__(self, subject: Subject, options: Options | None = None) -> None:
        self._subject = subject
        self._options = options or Options()
        unknown = set(self._options.metrics_of) - set(subject.addresses)
        if unknown:
            name = sorted(unknown)[0]
            raise UsageError(
                f"metrics are named of {name}, which is not looked at: name it among the storages, or leave them out"
            )
        self._sizes = Sizes(subject.config.cache_folder / "status" / "sizes")
        self._looks: dict[str, Look] = {}
        self._samples: dict[Meter, Sample] = {}

    def look(self, stop: Event | None = None) -> Status:
        """Look once; setting `stop` ends it early. Raises nothing that a storage raises: that is one of its problems."""
        stop = stop or Event()
        at, began = time.time(), time.monotonic()
        until = began + self._options.limit_seconds
        # What was read between two looks: what a look itself reads is nobody's load.
        before = _sampled(list(self._samples))
        readings = {meter: reading(meter, self._samples[meter], sample) for meter, sample in before.items()}
        looks = self._begin()
        for look in looks:
            look.wait(until, stop)
        meters = {look.address: look.meters() for look in looks}
        everything = list(dict.fromkeys(meter for each in meters.values() for meter in each))
        self._samples = _sampled(everything)
        if fresh := [meter for meter in self._samples if meter not in readings]:
            stop.wait(self._options.sample_seconds)
            again = _sampled(fresh)
            readings |= {meter: reading(meter, self._samples[meter], sample) for meter, sample in again.items()}
            self._samples |= again
        found = tuple(look.status(_told(meters[look.address], readings)) for look in looks)
        return Status(at, time.monotonic() - began, found, self._subject.plans)

    def _begin(self) -> list[Look]:
        """The looks that are under way still, and new ones for the rest; those of sources first."""
        hanging = {address: look for address, look in self._looks.items() if look.going_on}
        made = dict(hanging)
        plans = self._subject.plans
        sources = {plan.source for plan in plans}
        # A source can be the target of another plan, though not of its own.
        for address in sorted(self._subject.addresses, key=lambda address: address not in sources):
            made.setdefault(address, self._make(address))
        for address, look in made.items():
            if address not in hanging:
                look.behind = [
                    (plan, made[plan.source]) for plan in plans if address in plan.targets and plan.source in made
                ]
                look.start()
        self._looks = made
        return [made[address] for address in self._subject.addresses]

    def _make(self, address: str) -> Look:
        options = self._options
        wish = Wish(self._subject.config, self._sizes, options.probe, options.metrics_of.get(address, ()))
        return Look(address, wish, options.limit_seconds)


def _sampled(meters: Sequence[Meter]) -> dict[Meter, Sample]:
    """All at one time; one that does not answer is left behind."""
    found: dict[Meter, Sample] = {}

    def sample(meter: Meter) -> None:
        if (now := meter.sample()) is not None:
            found[meter] = now

    threads = [Thread(target=sample, args=(meter,), name="hoist-status-meter", daemon=True) for meter in meters]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _METER_SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(found)


def _told(meters: Sequence[Meter], readings: Mapping[Meter, Reading | None]) -> list[Reading]:
    return [found for meter in meters if (found := readings.get(meter))]


def look_once(*words: str, options: Options | None = None, config: Config | None = None) -> Status:
    """How storages are. Raises InvalidConfig, UsageError; what a storage raises is one of its problems."""
    return Observer(subject_of(words, config), options).look()
