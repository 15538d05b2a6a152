"""Quantities with units, as people write them: `12GiB`, `120s`, `5Gbit/s`, `200/day`, `50USD`. No bare numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hoist.errors import UsageError

Dimension = Literal[
    "size", "time", "rate", "frequency", "ratio", "count", "growth", "money", "storage-price", "exchange", "other"
]

_SIZES: dict[str, int] = {"B": 1, **{f"{p}B": 1000**n for n, p in enumerate("KMGTP", 1)}, "kB": 1000}
_SIZES |= {f"{p}iB": 1024**n for n, p in enumerate("KMGTP", 1)}
_TIMES = {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}
MONTH_SECONDS = 365.25 / 12 * 86400.0
_TIMES["month"] = MONTH_SECONDS
_RATES = {f"{name}/s": float(factor) for name, factor in _SIZES.items()}
_RATES |= {f"{p}bit/s": 1000**n / 8 for n, p in enumerate(("", "K", "M", "G", "T"))}
_CURRENCIES = ("USD", "CNY")
_EXAMPLES = {
    "size": "12GiB or 600MB",
    "time": "120s, 5min or 2h",
    "rate": "600MB/s or 5Gbit/s",
    "frequency": "200/day, 3/week or 5/s",
    "ratio": "30% or 0.3",
    "count": "12",
    "money": "50USD or 350CNY",
}
_QUANTITY = re.compile(r"\s*([$¥])?\s*(-?[0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in a currency."""

    amount: float
    currency: str


@dataclass(frozen=True, slots=True)
class Price:
    """So much money for each so many bytes and month, or for each of something else."""

    amount: float
    currency: str
    per: float


def dimension_of(unit: str) -> Dimension | None:
    """What a unit measures; None for one that is not known."""
    if unit in _SIZES:
        return "size"
    if unit in _TIMES:
        return "time"
    if unit in _RATES:
        return "rate"
    if unit in ("ratio", "%"):
        return "ratio"
    if unit == "count":
        return "count"
    if unit in _CURRENCIES:
        return "money"
    above, slash, below = unit.rpartition("/")
    if not slash:
        return None
    if above in ("1", "") and below in _TIMES:
        return "frequency"
    if above in _RATES and below in _SIZES:
        return "growth"
    if above in _CURRENCIES and below in _CURRENCIES:
        return "exchange"
    if above in _CURRENCIES and below.endswith("-month") and below.removesuffix("-month") in _SIZES:
        return "storage-price"
    return "other" if above and below else None


def to_base(value: float, unit: str) -> float:
    """The value in bytes, seconds, bytes a second, a second, or bytes a second and byte; others stay as they are."""
    if unit == "%":
        return value / 100
    for table in (_SIZES, _TIMES, _RATES):
        if unit in table:
            return float(value * table[unit])
    above, slash, below = unit.rpartition("/")
    if slash and above in ("1", "") and below in _TIMES:
        return value / _TIMES[below]
    if slash and above in _RATES and below in _SIZES:
        return value * _RATES[above] / _SIZES[below]
    return value


def price_of(value: float, unit: str) -> Price:
    """A price by unit: `USD/GiB-month` is for a GiB, `USD/10000-requests` for 10,000, `USD/CU` for one."""
    currency, _, what = unit.partition("/")
    stem = what.removesuffix("-month")
    number, hyphen, _ = what.partition("-")
    many = int(number) if hyphen and number.isdigit() else 1
    return Price(value, currency, float(_SIZES.get(stem, many)))


def parse(text: object, dimension: Dimension, field: str) -> float:
    """A quantity that must have a unit of `dimension`, in base units. Raises UsageError with the field and the mend."""
    number, unit = split(text, field, dimension)
    if not unit and dimension in ("ratio", "count"):
        unit = dimension
    if dimension_of(unit) != dimension or (unit == "B" and dimension != "size"):
        found = f"{unit!r} is no unit of it" if unit else "the unit is missing"
        raise UsageError(f"{field} = {text!r}: {found}; write {_EXAMPLES[dimension]}")
    if number < 0:
        raise UsageError(f"{field} = {text!r}: it cannot be negative; write {_EXAMPLES[dimension]}")
    return to_base(number, unit)


def parse_money(text: object, field: str) -> Money:
    """An amount with its currency. Raises UsageError."""
    number, unit = split(text, field, "money")
    if unit not in _CURRENCIES or number < 0:
        raise UsageError(f"{field} = {text!r}: write an amount with its currency, as {_EXAMPLES['money']}")
    return Money(number, unit)


def split(text: object, field: str, dimension: str = "size") -> tuple[float, str]:
    """A number and its unit, which may be empty. Raises UsageError where there is no number."""
    found = None if isinstance(text, bool) else _QUANTITY.fullmatch(str(text))
    if not found:
        raise UsageError(
            f"{field} = {text!r} is no quantity; write {_EXAMPLES.get(dimension, 'a number and its unit')}"
        )
    sign, number, unit = found.groups()
    unit = {"$": "USD", "¥": "CNY"}.get(sign, unit) if sign else unit
    return float(re.sub(r"[_,]", "", number)), re.sub(r"^/", "1/", re.sub(r"\s+", "", unit))
