"""Timers: in their order, not before their time, cancelled ones never; and they do not pile up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from hoist.function.timers import Timers, after


@pytest.fixture
def timers() -> Iterator[Timers]:
    found = Timers()
    yield found
    found.close()


def test_calls_come_in_the_order_of_their_times(timers: Timers) -> None:
    told: list[str] = []
    done = threading.Event()
    timers.at(after(0.2), partial(_append, told, "late", done))
    timers.at(after(0.1), lambda: told.append("early"))
    never = timers.at(after(0.05), lambda: told.append("never"))
    timers.soon(lambda: told.append("soon"))
    never.cancel()
    assert done.wait(30)
    assert told == ["soon", "early", "late"]


def test_ten_thousand_that_are_cancelled_are_forgotten(timers: Timers) -> None:
    for _ in range(10_000):
        timers.at(after(3600), lambda: None).cancel()
    done = threading.Event()
    timers.soon(done.set)
    assert done.wait(30)
    assert len(timers._heap) < 1000


def _append(told: list[str], word: str, done: threading.Event) -> None:
    told.append(word)
    done.set()
