"""How long is too long, learned from how long it takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hoist.storage.any.usual import LEAST_SECONDS, Usual


def learned(*samples: tuple[int, float]) -> Usual:
    usual = Usual()
    for size, seconds in samples:
        usual.took(size, seconds)
    return usual


def test_nothing_is_known_at_first() -> None:
    assert learned((1 << 20, 0.1)).too_long(1 << 20) is None


def test_four_times_the_usual_and_a_second_at_least() -> None:
    assert learned(*[(8 << 20, 2.0)] * 5).too_long(8 << 20) == 8.0
    assert learned(*[(8 << 20, 0.01)] * 5).too_long(8 << 20) == LEAST_SECONDS


def test_a_larger_read_may_take_longer_by_as_much() -> None:
    assert learned(*[(1 << 20, 1.0)] * 5).too_long(16 << 20) == 64.0


def test_once_is_enough_where_it_is_out_of_all_proportion() -> None:
    usual = learned(*[(8 << 20, 0.1)] * 8)
    assert not usual.out_of_all_proportion(8 << 20, 1.5)
    assert usual.out_of_all_proportion(8 << 20, 1.7)
    assert not learned().out_of_all_proportion(8 << 20, 100.0)


def test_where_all_has_become_slow_more_time_is_given() -> None:
    usual = learned(*[(8 << 20, 0.1)] * 64)
    before = usual.too_long(8 << 20)
    for _ in range(40):
        usual.took(8 << 20, 5.0)
    assert before == LEAST_SECONDS
    assert usual.too_long(8 << 20) == 20.0


@given(
    st.lists(st.tuples(st.integers(0, 1 << 30), st.floats(0, 1e4)), min_size=4, max_size=80), st.integers(0, 1 << 30)
)
def test_never_less_for_a_larger_read(samples: list[tuple[int, float]], size: int) -> None:
    usual = learned(*samples)
    smaller, larger = usual.too_long(size), usual.too_long(2 * size)
    assert smaller is not None
    assert larger is not None
    assert LEAST_SECONDS <= smaller <= larger
