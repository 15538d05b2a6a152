"""How the advisor says numbers: sizes in binary units, rates and prices as providers have them."""

from __future__ import annotations

from math import inf

_SIGNS = {"USD": "$", "CNY": "¥"}
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(value: float) -> str:
    """`3.97 GiB`."""
    unit = 0
    while value >= 1024 and unit + 1 < len(_BINARY):
        value, unit = value / 1024, unit + 1
    return f"{_digits(value)} {_BINARY[unit]}"


def decimal_size(value: float) -> str:
    """`50 GB`, as accelerators are sold."""
    return f"{_digits(value / 1e12)} TB" if value >= 1e12 else f"{_digits(value / 1e9)} GB"


def rate(value: float) -> str:
    """`600 MB/s`, `12.5 GB/s`."""
    if value == inf:
        return "no known limit"
    return f"{_digits(value / 1e9)} GB/s" if value >= 1e9 else f"{_digits(value / 1e6)} MB/s"


def _digits(value: float) -> str:
    """Three of them, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1e-3 else "0"


def seconds(value: float) -> str:
    """`0.3 s`, `16.9 s`, `715 s`, `46 min`."""
    if value < 100:
        return f"{value:.1f} s"
    return f"{value:,.0f} s" if value < 1000 else f"{value / 60:,.0f} min"


def money(value: float, currency: str) -> str:
    """`$1.27`, `¥35`, `$4,180`."""
    sign = _SIGNS.get(currency, f"{currency} ")
    return f"{sign}{value:,.2f}" if value < 100 else f"{sign}{value:,.0f}"


def count(value: float, noun: str) -> str:
    """`1 instance`, `100 instances`, `4.3 updates`."""
    number = f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.1f}"
    return f"{number} {noun}{'' if number == '1' else 's'}"


def share(value: float) -> str:
    """`0%`, `0.3%`, `97%`."""
    if 0 < value < 0.01:
        return f"{value:.1%}"
    # Not all is not 100%, and some is not 0%.
    return f"{min(value, 0.99) if value < 1 else value:.0%}"
