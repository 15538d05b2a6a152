"""What a schedule wants done, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hoist.errors import HoistError


class Reason(StrEnum):
    """Why a ticket is refused."""

    DEADLINE = "its time is over"
    NO_ROOM = "no room"
    TOO_LARGE = "larger than the budget"
    STUCK = "does not come back"
    FAILED = "its load failed"
    CLOSED = "closing"


@dataclass(frozen=True, slots=True)
class Grant:
    """The model's object is ready: the ticket's request runs now, and `finished` ends it."""

    ticket: int
    model: str


@dataclass(frozen=True, slots=True)
class Done:
    """What the ticket asked for (a prefetch, a drop) is done."""

    ticket: int
    model: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The ticket gets nothing; `detail` names who stands in the way, `error` is that of the load."""

    ticket: int
    model: str
    reason: Reason
    detail: str = ""
    error: HoistError | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Read the model's manifest and headers; `opened` or `failed` answers."""

    model: str


@dataclass(frozen=True, slots=True)
class Load:
    """Bring the model to host memory, make its object on the device, or both; `done` or `failed` answers.

    Its bytes count from now on. There is one Load or Unload at a time.
    """

    model: str
    to_host: bool
    to_device: bool


@dataclass(frozen=True, slots=True)
class Unload:
    """Let the object go, and what only the device holds, for the sake of another model or of none; `done` answers."""

    model: str
    sake: str = ""


@dataclass(frozen=True, slots=True)
class Evict:
    """Let the host copy go, at once, for the sake of another model or of none."""

    model: str
    sake: str = ""


@dataclass(frozen=True, slots=True)
class Forget:
    """Close the version: the next request opens the location anew."""

    model: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody waits for this load any more, or somebody waits for another one: end it if that can be done."""

    model: str


Action = Grant | Done | Refuse | Open | Load | Unload | Evict | Forget | Stop
