"""Asking the members what is small: the first that has it, or all of them, and what it means if some do not answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TypeVar

from hoist.errors import HoistError, HoistWarning, PermissionDenied, StorageUnavailable
from hoist.storage.any.calls import Call
from hoist.storage.any.member import UNKNOWN_SECONDS, Member, is_loss
from hoist.storage.base import Storage

Result = TypeVar("Result")

# Who is late, where nobody else has it, may take so much longer.
_LATE_SECONDS = 4.0


class Asking:
    """The members of one logical storage, in order of preference. `address` names it in messages."""

    def __init__(self, address: str, members: Sequence[Member]) -> None:
        self.address = address
        self.members = tuple(members)
        self._lock = Lock()
        self._told: frozenset[str] = frozenset()

    def well(self) -> list[Member]:
        """Those whose circuit is closed."""
        return [member for member in self.members if member.breaker.closed]

    def first(self, call: Callable[[Storage], Result], what: str) -> tuple[Member, Result]:
        """The first member that has it, by preference, and its answer. One that is late is not waited for if another has
        it, and one that is left alone is asked only where no other answers.

        Raises StorageUnavailable, naming those that could not be asked, if none of the others has it; else as the first.
        """
        well = self._looked_at()
        problems: dict[Member, HoistError] = {}
        found = self._race(call, well, problems)
        if found is None and all(is_loss(error) for error in problems.values()):
            found = self._race(call, [member for member in self.members if member not in well], problems)
        if found is None:
            for member in self.members:
                problems.setdefault(member, _resting(member))
            raise self.failure(problems, what)
        return found

    def _race(
        self, call: Callable[[Storage], Result], queue: Sequence[Member], problems: dict[Member, HoistError]
    ) -> tuple[Member, Result] | None:
        """One question, to one after the other; each has its time before the next is asked too."""
        answers: SimpleQueue[tuple[Member, Call[Result]]] = SimpleQueue()
        waiting, late = list(queue), set[Member]()
        asked: Member | None = None
        while waiting or asked or late:
            if asked is None and waiting:
                asked = _ask(waiting.pop(0), call, answers, problems)
                continue
            try:
                member, over = answers.get(timeout=asked.ask_seconds() if asked else _LATE_SECONDS)
            except Empty:
                if asked is None:
                    break
                problems[asked] = asked.silent(asked.ask_seconds())
                late.add(asked)
                asked = None
                continue
            late.discard(member)
            asked = None if asked is member else asked
            if over.error is None:
                return member, over.result()
            problems[member] = _as_hoist_error(over.error, member)
        return None

    def everyone(
        self, call: Callable[[Storage], Result], what: str, *, whole: bool = False
    ) -> list[tuple[Member, Result]]:
        """What each member says, in order; a warning names those that do not answer.

        Raises StorageUnavailable, or as the first, if none does; if one does not, where it has to be the `whole`.
        """
        asked = list(self.members) if whole else self._looked_at() or list(self.members)
        problems: dict[Member, HoistError] = {each: _resting(each) for each in self.members if each not in asked}
        calls: dict[Member, Call[Result]] = {}
        for member in asked:
            try:
                calls[member] = member.ask(call, small=False)
            except StorageUnavailable as error:
                problems[member] = error
        answers = []
        for member, under_way in calls.items():
            while not under_way.over.wait(UNKNOWN_SECONDS) and member.answer_seconds() is not None:
                continue
            if not under_way.over.is_set():
                problems[member] = member.silent(UNKNOWN_SECONDS)
            elif under_way.error is None:
                answers.append((member, under_way.result()))
            else:
                problems[member] = _as_hoist_error(under_way.error, member)
        if not answers or (whole and problems):
            raise self.failure(problems, what)
        self._warn(problems, what)
        return answers

    def failure(self, problems: dict[Member, HoistError], what: str) -> HoistError:
        """The one error that several members' errors mean."""
        lost = {member: error for member, error in problems.items() if is_loss(error)}
        if not lost:
            denied = [error for error in problems.values() if isinstance(error, PermissionDenied)]
            return [*denied, *problems.values()][0]
        others = ", ".join(member.name for member in problems if member not in lost)
        failed = StorageUnavailable(
            f"{self.address}: {what}: {said(lost)}" + (f"; it is not to be had from {others}" if others else "")
        )
        pauses = [error.retry_after for error in lost.values() if isinstance(error, StorageUnavailable)]
        # Whoever may be asked again first decides when.
        known = [pause for pause in pauses if pause is not None]
        failed.retry_after = min(known) if len(known) == len(lost) else None
        return failed

    def _looked_at(self) -> list[Member]:
        for member in self.members:
            member.come_back()
        return self.well()

    def _warn(self, problems: dict[Member, HoistError], what: str) -> None:
        names = frozenset(member.name for member in problems)
        with self._lock:
            new = not names <= self._told
            self._told = names
        if new:
            warnings.warn(
                f"{self.address}: {what} without {', '.join(sorted(names))}, so something may be missing: {said(problems)}",
                HoistWarning,
                stacklevel=4,
            )


def _ask(
    member: Member,
    call: Callable[[Storage], Result],
    answers: SimpleQueue[tuple[Member, Call[Result]]],
    problems: dict[Member, HoistError],
) -> Member | None:
    try:
        member.ask(call, lambda over: answers.put((member, over)))
    except StorageUnavailable as error:
        problems[member] = error
        return None
    return member


def _resting(member: Member) -> StorageUnavailable:
    health = member.health()
    return StorageUnavailable(f"{health.problem}, and is asked again in {health.rest_seconds:.0f} s")


def said(problems: dict[Member, HoistError]) -> str:
    """What went wrong with each, by its name, which its own message may begin with."""
    return "; ".join(
        str(error) if str(error).startswith(member.name) else f"{member.name}: {error}"
        for member, error in problems.items()
    )


def _as_hoist_error(error: BaseException, member: Member) -> HoistError:
    if isinstance(error, HoistError):
        return error
    # Nothing else leaves a storage; if it does all the same, one member's fault must not be the others'.
    return StorageUnavailable(f"{member.name} failed: {type(error).__name__}")
