"""One storage being looked at, in a thread of its own: one that hangs keeps nobody waiting but this thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event, Thread

from hoist.config import Config, StorageConfig
from hoist.errors import HoistError, PermissionDenied, StorageUnavailable
from hoist.read.engine import Engine
from hoist.status.content import Content, measure
from hoist.status.lag import lag_of
from hoist.status.meters import Meter, Reading, folder_of, kernel_meter, meters_of
from hoist.status.probe import probe
from hoist.status.sizes import Sizes
from hoist.status.state import Lag, Problem, StorageStatus
from hoist.storage import kind_of, open_storage
from hoist.storage.base import Storage
from hoist.storage.discretion import Discretion
from hoist.sync.observe import observe
from hoist.sync.plan import SyncPlan

# Clients repeat what is passing; a status shows it.
_RETRY_SECONDS = 2.0
_STEP_SECONDS = 0.1
# A name that no storage has, to see how quickly it says so.
_NOBODY = "hoist-status"


@dataclass(frozen=True)
class Wish:
    """What is to be found out about each storage: `probe` reads a little, `metrics_urls` are meters that somebody named."""

    config: Config
    sizes: Sizes
    probe: bool = False
    metrics_urls: Sequence[str] = ()


class Look:
    """A look at one storage, which goes on until it is done, or for ever; for the looks at others it waits `seconds`."""

    def __init__(self, address: str, wish: Wish, seconds: float) -> None:
        self.address = address
        self.behind: Sequence[tuple[SyncPlan, Look]] = ()
        """The plans of which it is a target, each with the look at the source; to be set before it starts."""
        self.began = time.monotonic()
        self.settled = Event()
        """Set when its content is known, or that it will not be."""
        self.content: Content | None = None
        self._wish = wish
        self._discretion = Discretion(wish.config.environ)
        self._until = self.began + seconds
        self._stop = Event()
        self._given_up: float | None = None
        self._found = _Found()
        # A daemon, as nothing can end a thread that hangs in a dead mount: it must not keep Python from ending.
        self._thread = Thread(target=self._run, name="hoist-status", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def going_on(self) -> bool:
        """Whether it is not done."""
        return self._thread.is_alive()

    def wait(self, until: float, stop: Event) -> None:
        """Wait until it is done, for so long by the monotonic clock, or until `stop` is set; a probe then need not go on."""
        while self.going_on and time.monotonic() < until and not stop.is_set():
            self._thread.join(min(_STEP_SECONDS, max(0.0, until - time.monotonic())))
        if self.going_on:
            self._given_up = time.monotonic()
            self._stop.set()

    def meters(self) -> list[Meter]:
        """The meters of this storage; of one that hangs what can be told without asking it."""
        if self._found.meters is not None:
            return self._found.meters
        config = self._found.config
        folder = folder_of(config) if config else None
        meter = kernel_meter(folder) if folder else None
        return [meter] if meter else []

    def status(self, readings: Sequence[Reading] = ()) -> StorageStatus:
        """What is known by now."""
        found, content = self._found, self.content
        # One that only waits for another is not late itself.
        late = self.going_on and not found.waiting
        problems = list(found.problems)
        if late:
            problems.append(self._lateness(content))
        if content and content.unread:
            first = min(content.unread)
            problems.append(self._problem(content.unread[first], f"{len(content.unread)} manifests cannot be read: "))
        # One that is late with its sizes alone has answered.
        up = content is not None and (late or not found.failed)
        return StorageStatus(
            address=self._discretion.text(self.address),
            kind=found.kind,
            region=(found.config.region if found.config else None) or "",
            up=up,
            late=late,
            seconds=(found.ended or self._given_up or time.monotonic()) - self.began,
            answer_seconds=found.answer_seconds,
            models=content.models if content else None,
            versions=len(content.state.versions) if content else None,
            tags=len(content.state.tags) if content else None,
            size_bytes=content.size_bytes if content else None,
            unsized=content.unsized if content else 0,
            lags=tuple(found.lags),
            readings=(*readings, *([found.probed] if found.probed else [])),
            problems=tuple(problems),
        )

    def _lateness(self, content: Content | None) -> Problem:
        took = (self._given_up or time.monotonic()) - self.began
        message = f"no answer in {took:.0f} s ({self._found.stage})"
        if content is not None:
            message = f"not done in {took:.0f} s ({self._found.stage}): {content.unsized:,} sizes are not known yet"
        mend = "look whether it hangs (a server that is silent, a dead mount), or give --limit more"
        return Problem("StorageUnavailable", f"{message}; {mend}", StorageUnavailable.exit_code)

    def _problem(self, error: HoistError, what: str = "") -> Problem:
        return Problem(type(error).__name__, self._discretion.text(f"{what}{error}"), error.exit_code)

    def _run(self) -> None:
        try:
            with self._problems():
                config = self._wish.config.storage(self.address)
                self._found.config, self._found.kind = config, kind_of(config)
                self._found.failed = True
                self._look(replace(config, retry_seconds=_RETRY_SECONDS))
        finally:
            self._found.ended = time.monotonic()
            self.settled.set()

    def _look(self, config: StorageConfig) -> None:
        with open_storage(config, self._wish.config.environ) as storage:
            self._found.kind = storage.kind
            self._found.answer_seconds = _answer_seconds(storage)
            self._found.meters = meters_of(config, self._wish.config.runtime_folder, self._wish.metrics_urls)
            self._found.stage = "listing it"
            state = observe(storage)
            if state.error is not None:
                raise state.error
            self._found.stage = "reading manifests"
            measure(storage, state, self._wish.sizes, self._tell)
            self._found.failed = False
            self.settled.set()
            for plan, source in self.behind:
                with self._problems():
                    self._compare(plan, source, storage)
            if self._wish.probe:
                with self._problems():
                    self._probe(storage)

    def _tell(self, content: Content) -> None:
        self.content = content

    def _compare(self, plan: SyncPlan, source: Look, storage: Storage) -> None:
        self._found.waiting = True
        source.settled.wait(max(0.0, self._until - time.monotonic()))
        self._found.waiting = False
        if source.content is None or not source.settled.is_set() or self.content is None:
            return
        self._found.stage = f"comparing it with {source.address}"
        # Its own look may be over, and its storage closed.
        with open_storage(self._wish.config.storage(source.address), self._wish.config.environ) as other:
            self._found.lags.append(lag_of(plan, other, source.content, storage, self.content))

    def _probe(self, storage: Storage) -> None:
        self._found.stage = "reading a little of it"
        assert self.content is not None
        sized = [version for version, each in self.content.sizes.items() if each.size]
        if sized:
            newest = max(sized, key=lambda version: (self.content.state.versions[version].published, version))  # type: ignore[union-attr]
            engine = Engine(replace(self._wish.config.engine, retry_seconds=_RETRY_SECONDS))
            self._found.probed = probe(storage, newest, engine, self._stop)

    @contextmanager
    def _problems(self) -> Iterator[None]:
        """What goes wrong is told, and nobody else's look ends by it."""
        try:
            yield
        except HoistError as error:
            self._found.problems.append(self._problem(error))
        except Exception as error:  # noqa: BLE001 the other storages are shown all the same
            what = f"a bug in Hoist, please report it: {type(error).__name__}: {error}"
            self._found.problems.append(Problem("InternalError", self._discretion.text(what), 70))


@dataclass(slots=True)
class _Found:
    """What a look has found so far."""

    config: StorageConfig | None = None
    kind: str = ""
    stage: str = "asking it"
    waiting: bool = False
    answer_seconds: float | None = None
    meters: list[Meter] | None = None
    lags: list[Lag] = field(default_factory=list)
    probed: Reading | None = None
    problems: list[Problem] = field(default_factory=list)
    failed: bool = False
    ended: float | None = None


def _answer_seconds(storage: Storage) -> float:
    """How long one small request takes. Raises what a storage may, but for a refusal, which is an answer."""
    began = time.monotonic()
    try:
        storage.find_tag(_NOBODY, "latest")
    except PermissionDenied:
        """A listing will tell whether that matters."""
    return time.monotonic() - began
