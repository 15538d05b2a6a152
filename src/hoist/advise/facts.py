"""Limits, prices and rates, each with its unit, source, date and certainty: those shipped, and the user's over them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from hoist.advise.units import Dimension, Price, dimension_of, price_of, split, to_base
from hoist.errors import InvalidConfig, NotFound, UsageError

CERTAINTIES = ("published", "unverified", "derived", "measured", "given")
_FIELDS = ("id", "value", "unit", "source", "read", "certainty", "note", "url")
_NEEDED = ("id", "value", "unit", "source", "read", "certainty")
_ID = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_READ = re.compile(r"\d{4}-\d{2}(?:-\d{2})?")
_OLD_MONTHS = 12
# What is divided by, or has to be there.
_ABOVE_ZERO = ("rate", "size", "exchange")


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure. `read` is the month or day on which its source was read, or it was measured; `certainty` is one of
    `CERTAINTIES`, where `given` is the user's own word."""

    id: str
    value: float
    unit: str
    source: str
    read: str
    certainty: str
    note: str = ""
    url: str = ""

    @property
    def base(self) -> float:
        """The value in bytes, seconds, and what is made of them."""
        return to_base(self.value, self.unit)

    @property
    def shown(self) -> str:
        """The value as its source has it: `600 MB/s`."""
        number = f"{self.value:,.9f}".rstrip("0").rstrip(".")
        return number if self.unit in ("count", "ratio") else f"{number} {self.unit}"

    def is_old(self, today: date) -> bool:
        """Whether its source was read more than a year ago."""
        year, month = int(self.read[:4]), int(self.read[5:7])
        return (today.year - year) * 12 + today.month - month > _OLD_MONTHS


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts by id."""

    by_id: Mapping[str, Fact] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Fact]:
        return iter(self.by_id.values())

    def find(self, id: str) -> Fact | None:
        """A fact, or None."""
        return self.by_id.get(id)

    def fact(self, id: str) -> Fact:
        """A fact. Raises NotFound with the nearest ids."""
        try:
            return self.by_id[id]
        except KeyError:
            near = get_close_matches(id, self.by_id, 3, 0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else "; hoist facts lists all"
            raise NotFound(f"there is no fact {id!r}{hint}") from None

    def get(self, id: str, dimension: Dimension) -> float:
        """A fact's value in base units. Raises NotFound, and InvalidConfig for a fact of another dimension."""
        fact = self.fact(id)
        if dimension_of(fact.unit) != dimension:
            raise InvalidConfig(f"fact {id}: {fact.shown} is no {dimension}")
        return fact.base

    def price(self, id: str) -> Price:
        """A fact that is a price. Raises NotFound."""
        fact = self.fact(id)
        return price_of(fact.value, fact.unit)

    def convert(self, amount: float, currency: str, wanted: str) -> float:
        """Money in another currency, by the fact `money.cny-for-usd`."""
        if currency == wanted:
            return amount
        rate = self.fact("money.cny-for-usd").value
        return amount * rate if currency == "USD" else amount / rate

    def with_facts(self, more: Iterable[Fact]) -> Facts:
        """These, with others laid over them."""
        return Facts({**self.by_id, **{fact.id: fact for fact in more}})


@cache
def shipped() -> Facts:
    """The facts that come with Hoist."""
    folder = files("hoist.advise").joinpath("facts")
    found: dict[str, Fact] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.endswith(".toml"):
            for fact in parse_facts(tomllib.loads(path.read_text("utf-8")), path.name):
                if fact.id in found:
                    raise InvalidConfig(f"{path.name}: fact {fact.id} is there twice")
                found[fact.id] = fact
    return Facts(found)


def read_facts(path: Path) -> list[Fact]:
    """A user's facts: a TOML file as Hoist's own, or records of `hoist bench` (`.jsonl`), from which they are learned.

    Raises InvalidConfig, InvalidFile, LocalError.
    """
    if path.suffix == ".jsonl":
        from hoist.advise.learn import learn

        return learn([path]).facts
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidConfig(f"{path}: {error}") from None
    return parse_facts(document, str(path))


def parse_facts(document: Mapping[str, Any], where: str) -> list[Fact]:
    """The facts of a document. Raises InvalidConfig, naming the fact and what it lacks."""
    tables = document.get("fact")
    if set(document) - {"fact"} or not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise InvalidConfig(f"{where}: a file of facts is a list of [[fact]] tables; hoist facts show ID prints one")
    return [_parse(table, where) for table in tables]


def _parse(table: Mapping[str, Any], where: str) -> Fact:
    label = f"{where}: fact {table.get('id', '(without an id)')}"
    unknown = sorted(set(table) - set(_FIELDS))
    if unknown:
        near = get_close_matches(unknown[0], _FIELDS, 1)
        raise InvalidConfig(f"{label}: unknown field {unknown[0]!r}" + (f"; did you mean {near[0]}?" if near else ""))
    for name in _NEEDED:
        if table.get(name) in (None, ""):
            raise InvalidConfig(f"{label} has no {name}: each fact has {', '.join(_NEEDED)}")
    value = table["value"]
    texts = {name: str(table.get(name, "")) for name in _FIELDS if name != "value"}
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InvalidConfig(f"{label}: value is a number, 0 or more, not {value!r}")
    if not value and dimension_of(texts["unit"]) in _ABOVE_ZERO:
        raise InvalidConfig(f"{label}: value is a number above 0, as it is a {dimension_of(texts['unit'])}")
    if dimension_of(texts["unit"]) is None:
        raise InvalidConfig(f"{label}: unit {texts['unit']!r} is not known; as MB/s, Gbit/s, GB, s, 1/s, USD/GB-month")
    if not _ID.fullmatch(texts["id"]) or not _READ.fullmatch(texts["read"]):
        raise InvalidConfig(f"{label}: id is of small letters, digits, dots and hyphens; read is a date, as 2026-11")
    if texts["certainty"] not in CERTAINTIES:
        raise InvalidConfig(f"{label}: certainty {texts['certainty']!r} is none of {', '.join(CERTAINTIES)}")
    return Fact(value=float(value), **texts)


def given_facts(base: Facts, table: Mapping[str, Any], where: str, read: str) -> list[Fact]:
    """Facts as the table [facts] of hoist.toml, or `--fact ID=VALUE`, gives them: only values with units, for ids that
    there are. Raises InvalidConfig, NotFound."""
    found = []
    for id, text in table.items():
        known = base.fact(id)
        try:
            value, unit = split(text, id)
        except UsageError as error:
            raise InvalidConfig(f"{where}: {error}") from None
        unit = unit or (known.unit if known.unit in ("count", "ratio") else "")
        dimension = dimension_of(unit)
        if value < 0 or dimension != dimension_of(known.unit) or (not value and dimension in _ABOVE_ZERO):
            raise InvalidConfig(f"{where}: {id} = {text!r}: write it as {known.shown}, which it is now")
        found.append(Fact(id, value, unit, where, read, "given", f"instead of {known.shown}"))
    return found


def known_facts(files: Iterable[Path] = (), table: Mapping[str, Any] | None = None, today: str = "") -> Facts:
    """Shipped facts, with those of `files` and then those of hoist.toml's [facts] over them. Raises InvalidConfig."""
    found = shipped()
    for path in files:
        found = found.with_facts(read_facts(path))
    return found.with_facts(given_facts(found, table, "hoist.toml", today)) if table else found
