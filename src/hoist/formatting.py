"""How sizes, rates, times, digests and names are written out for people."""

from __future__ import annotations

import re

# With a scheme before it, or with a password in it.
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@|\b[^\s/@:]+:[^\s/@]+@")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def show_size(size: float) -> str:
    """Bytes in binary units: `0 B`, `12.5 MiB`, `1.99 GiB`."""
    unit = _unit(size)
    return f"{_number(size, unit)} {_UNITS[unit]}"


def show_share(done: float, total: float) -> str:
    """A part of a whole, in the unit of the whole: `0.35 / 1.99 GiB`."""
    unit = _unit(total)
    return f"{_number(done, unit)} / {_number(total, unit)} {_UNITS[unit]}"


def _unit(size: float) -> int:
    unit = 0
    while round(size / 1024**unit, 1) >= 1024 and unit + 1 < len(_UNITS):
        unit += 1
    return unit


def _number(size: float, unit: int) -> str:
    return f"{size / 1024**unit:.{(0, 1, 1)[unit] if unit < 3 else 2}f}"


def show_rate(size: float, seconds: float) -> str:
    """Bytes a second, or a dash where no time has passed."""
    return f"{show_size(size / seconds)}/s" if seconds > 0 else "-"


def show_seconds(seconds: float, *, whole: bool = False) -> str:
    """A duration: `0.05 s`, `12.3 s`, `2 min 05 s`; without fractions if `whole`."""
    if whole and seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def show_count(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def short_digest(digest: str) -> str:
    """A digest as tables show it: `sha256:` and twelve digits."""
    kind, _, digits = digest.partition(":")
    return f"{kind}:{digits[:12]}" if digits else digest


def printable(text: str) -> str:
    """`text` on one line, with control characters escaped: a name out of a file must not command the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.splitlines()))


def without_logins(text: str) -> str:
    """A text without the users and passwords of the URLs in it."""
    return _LOGIN.sub("***@", text)


def without_login(address: str) -> str:
    """A storage's address without the user and password that a URL can hold; a path may hold anything."""
    return without_logins(address) if "://" in address else address
