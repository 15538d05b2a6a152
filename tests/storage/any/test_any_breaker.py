"""The circuit breaker under any history, by a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hoist.storage.any.breaker import FAILURES, FIRST_REST_SECONDS, LONGEST_REST_SECONDS, Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    breaker.failed(at_once=True)
    assert not breaker.closed
    return breaker


def test_opens_at_the_third_failure_in_a_row() -> None:
    breaker = Breaker(Clock())
    for _ in range(FAILURES - 1):
        breaker.failed()
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed()
        assert breaker.closed
    breaker.failed()
    assert breaker.state == "open"


def test_rests_twice_as_long_each_time_up_to_a_limit() -> None:
    clock = Clock()
    breaker = opened(clock)
    rests = []
    for _ in range(8):
        rests.append(breaker.rest_seconds())
        clock.now += rests[-1]
        assert breaker.state == "half-open"
        assert breaker.take_probe()
        breaker.probed(answered=False)
    assert rests == [min(FIRST_REST_SECONDS * 2**n, LONGEST_REST_SECONDS) for n in range(8)]


def test_one_probe_at_a_time_and_none_before_the_rest_is_over() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += FIRST_REST_SECONDS - 0.01
    assert not breaker.take_probe()
    clock.now += 0.02
    assert breaker.take_probe()
    assert not breaker.take_probe()
    breaker.probed(answered=True)
    assert breaker.closed
    assert not breaker.take_probe()


def test_one_that_fails_again_at_once_rests_longer_and_one_that_was_well_for_long_does_not() -> None:
    clock = Clock()
    breaker = opened(clock)
    breaker.succeeded()
    clock.now += 1
    breaker.failed(at_once=True)
    assert breaker.rest_seconds() == 2 * FIRST_REST_SECONDS
    breaker.succeeded()
    clock.now += 100
    breaker.failed(at_once=True)
    assert breaker.rest_seconds() == FIRST_REST_SECONDS


def test_a_storage_that_asks_for_a_pause_has_it_within_limits() -> None:
    breaker = Breaker(Clock())
    breaker.failed(at_once=True, rest_seconds=12)
    assert breaker.rest_seconds() == 12
    breaker = Breaker(Clock())
    breaker.failed(at_once=True, rest_seconds=1e9)
    assert breaker.rest_seconds() == LONGEST_REST_SECONDS


STEPS = st.lists(
    st.one_of(st.sampled_from(["failed", "at once", "succeeded", "probe"]), st.floats(0, 100)), max_size=60
)


@given(STEPS)
def test_any_history(steps: list[str | float]) -> None:
    """It never rests for longer than the limit, one probe is under way at most, and a success always closes it."""
    clock = Clock()
    breaker = Breaker(clock)
    for step in steps:
        if isinstance(step, float):
            clock.now += step
        elif step == "succeeded":
            breaker.succeeded()
            assert breaker.closed
        elif step == "probe":
            rested = not breaker.closed and breaker.rest_seconds() == 0
            assert breaker.take_probe() == rested
            if rested:
                assert not breaker.take_probe()
                breaker.probed(answered=False)
                assert breaker.state == "open"
        else:
            breaker.failed(at_once=step == "at once")
        assert 0 <= breaker.rest_seconds() <= LONGEST_REST_SECONDS
        assert breaker.closed == (breaker.state == "closed")
