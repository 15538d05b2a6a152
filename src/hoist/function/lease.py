"""Who waits for a model, and what they get."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hoist.errors import Busy, DeadlineExceeded, HoistError, LocalError
from hoist.function.actions import Reason, Refuse

if TYPE_CHECKING:
    from hoist.function.model import Model
    from hoist.function.timers import Timer

Call = Callable[[], object]


class Lease:
    """The right to use a model's object until `release` (also the end of a `with` block): it stays on the device.

    One that is forgotten is released when Python finds it.
    """

    def __init__(self, model: Model, held: Any, release: Call, soon: Callable[[Call], None]) -> None:
        self.model = model
        self.object = held
        self._release: Call | None = release
        self._soon = soon

    def release(self) -> None:
        """Let it go; a second time does nothing."""
        release, self._release = self._release, None
        self.object = None
        if release is not None:
            release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __del__(self) -> None:
        if self._release is not None:
            # From wherever the interpreter happens to be: no lock may be taken here.
            self._soon(self._release)


@dataclass(slots=True)
class Ticket:
    """Who waits for which model; whether for a lease, or to be told how it is.

    The future is let go of once it is settled: it holds the lease, which nobody else may.
    """

    name: str
    future: Future[Any] | None
    lease: bool = False
    timer: Timer | None = None

    def settle(self, value: Any) -> bool:
        """Give what was waited for, or raise it there; False if nobody waits any more."""
        future, self.future = self.future, None
        if future is None or not future.set_running_or_notify_cancel():
            return False
        if isinstance(value, BaseException):
            future.set_exception(value)
        else:
            future.set_result(value)
        return True


def refusal(action: Refuse) -> HoistError:
    """What a refused ticket is told."""
    name, detail = action.model, action.detail
    match action.reason:
        case Reason.FAILED:
            assert action.error is not None
            # Each who waited gets one of their own: raising it adds to it.
            return copy.copy(action.error)
        case Reason.DEADLINE:
            return DeadlineExceeded(
                f"the time for {name} was over before its turn came: {detail or 'others came first'}"
            )
        case Reason.NO_ROOM:
            return Busy(f"there is no room for {name}: memory is held by {detail}")
        case Reason.STUCK:
            return Busy(f"{name} cannot be had: {detail}")
        case Reason.TOO_LARGE:
            return LocalError(f"{name} is too large for this function ({detail}): raise the budget")
        case Reason.CLOSED:
            return Busy(f"the function is closing: {name} is not loaded any more")
