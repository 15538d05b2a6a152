"""Quantities: what units mean, and that nothing without one is taken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.advise.units import Dimension, Money, dimension_of, parse, parse_money, price_of, to_base
from hoist.errors import UsageError


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("12GiB", "size", 12 * 2**30),
        ("12 GB", "size", 12e9),
        ("1_000B", "size", 1000),
        ("120s", "time", 120),
        ("1.5h", "time", 5400),
        ("600MB/s", "rate", 6e8),
        ("5Gbit/s", "rate", 6.25e8),
        ("2MiB/s", "rate", 2**21),
        ("200/day", "frequency", 200 / 86400),
        ("3 / week", "frequency", 3 / 604800),
        ("30%", "ratio", 0.3),
        ("0.25", "ratio", 0.25),
        ("8", "count", 8),
        (8, "count", 8),
    ],
)
def test_read(text: object, dimension: Dimension, value: float) -> None:
    assert parse(text, dimension, "field") == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "dimension", "mend"),
    [
        ("12", "size", "size = '12': the unit is missing; write 12GiB or 600MB"),
        (4, "size", "the unit is missing"),
        ("-1GiB", "size", "it cannot be negative"),
        ("12s", "size", "'s' is no unit of it"),
        ("5Gb/s", "rate", "'Gb/s' is no unit of it; write 600MB/s or 5Gbit/s"),
        ("much", "size", "is no quantity; write 12GiB or 600MB"),
        (True, "count", "is no quantity"),
        ("3/fortnight", "frequency", "is no unit of it; write 200/day"),
        ("nan", "time", "is no quantity"),
    ],
)
def test_refused_with_the_mend(text: object, dimension: Dimension, mend: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, dimension, "size")
    assert mend in str(caught.value)


def test_money() -> None:
    assert parse_money("50USD", "budget") == parse_money("$50", "budget") == Money(50, "USD")
    assert parse_money("1,350 CNY", "budget") == parse_money("¥1350", "budget") == Money(1350, "CNY")
    for wrong in ("50", "50EUR", "-3USD", 50):
        with pytest.raises(UsageError, match="write an amount with its currency, as 50USD"):
            parse_money(wrong, "budget")


def test_prices_are_for_so_many() -> None:
    assert price_of(0.06, "USD/GiB-month").per == 2**30
    assert price_of(0.12, "CNY/GB-month").per == 1e9
    assert price_of(0.0004, "USD/1000-requests").per == 1000
    assert price_of(0.00002, "USD/CU").per == 1


@settings(deadline=None, max_examples=40)
@given(st.floats(0.001, 1e6), st.sampled_from(["B", "MB", "GiB", "s", "h", "MB/s", "Gbit/s", "1/day", "MB/s/TB", "%"]))
def test_units_are_linear(value: float, unit: str) -> None:
    assert dimension_of(unit) is not None
    assert to_base(2 * value, unit) == pytest.approx(2 * to_base(value, unit))
    assert to_base(value, unit) > 0


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 1e4, allow_nan=False), st.sampled_from(["MB", "GiB", "TB"]))
def test_a_size_is_read_as_it_was_written(value: float, unit: str) -> None:
    assert parse(f"{value:.6f}{unit}", "size", "size") == pytest.approx(to_base(value, unit), rel=1e-4)
