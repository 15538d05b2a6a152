"""The case that is judged: a model, a fleet, and what is wanted of it. From options, a TOML file, or both."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hoist.advise.facts import Facts
from hoist.advise.units import MONTH_SECONDS, Money, parse, parse_money
from hoist.errors import UsageError

MODES = ("on-demand", "idle", "provisioned")
LOADERS = ("hoist", "plain")
PLATFORMS = ("function-compute", "generic")
NAS_TYPES = ("performance", "capacity", "extreme")
CURRENCIES = ("USD", "CNY")
DAY, WEEK = 86400.0, 604800.0
# Where nobody says how often instances start: how often each of those at once does in a day. Assumptions, shown as such.
_STARTS_A_DAY = {"on-demand": 20.0, "idle": 1.0, "provisioned": 1.0}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One case. Sizes are bytes, times seconds, rates bytes a second, frequencies a second.

    `size` is what one start loads, `models` how many of that size are kept, and `shared` the part of a version that the
    next one shares with it. `instances` start at once in each of `regions`; `starts` is how often one starts, in all
    regions together; `bursts` how often all start at once, the other starts come one by one. `assumed` names the fields
    that nobody gave.
    """

    size: int
    deadline: float
    link: float
    gpu_memory: int
    starts: float
    files: int = 1
    shared: float = 0.0
    models: int = 1
    mode: str = "on-demand"
    instances: int = 1
    bursts: float = 1 / DAY
    updates: float = 1 / WEEK
    regions: tuple[str, ...] = ("cn-hangzhou",)
    budget: Money | None = None
    instances_per_host: int = 1
    gpu: str = "ada"
    vcpus: float = 8.0
    memory: int = 32 * 10**9
    loader: str = "hoist"
    warmup: float = 0.0
    base_image: int = 0
    platform: str = "function-compute"
    nas: str = "performance"
    currency: str = "USD"
    assumed: frozenset[str] = frozenset()

    @property
    def stored(self) -> int:
        """Bytes that are kept in each region."""
        return self.size * self.models

    @property
    def update_bytes(self) -> int:
        """What an update brings that the version before has not."""
        return round(self.size * (1 - self.shared))

    @property
    def starts_a_month(self) -> float:
        """Starts of instances in a month, in all regions."""
        return self.starts * MONTH_SECONDS

    @property
    def burst_starts_a_month(self) -> float:
        """Those of them that come with others at once."""
        return min(self.starts, self.bursts * self.instances * len(self.regions)) * MONTH_SECONDS

    @property
    def updates_a_month(self) -> float:
        """New versions in a month."""
        return self.updates * MONTH_SECONDS


_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("size", "gpu_memory", "memory", "base_image"), "size"),
    **dict.fromkeys(("deadline", "warmup"), "time"),
    **dict.fromkeys(("starts", "bursts", "updates"), "frequency"),
    **dict.fromkeys(("files", "models", "instances", "instances_per_host"), "count"),
    **{"link": "rate", "shared": "ratio", "vcpus": "count", "budget": "money", "regions": "regions"},
    **dict.fromkeys(("mode", "gpu", "loader", "platform", "nas", "currency"), "choice"),
}
FIELDS = tuple(item.name for item in fields(Scenario) if item.name != "assumed")
_CHOICES = {"mode": MODES, "loader": LOADERS, "platform": PLATFORMS, "nas": NAS_TYPES, "currency": CURRENCIES}
_LEAST_ONE = ("size", "deadline", "link", "files", "models", "instances", "instances_per_host", "memory")


def read_scenario(path: Path) -> dict[str, Any]:
    """The fields of a TOML file. Raises UsageError for what is no scenario, with the nearest field for an unknown one."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: {error}") from None
    check_fields(document, str(path))
    return document


def check_fields(table: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for a field that no scenario has."""
    for name in table:
        if name not in (*FIELDS, "model"):
            near = get_close_matches(name.replace("-", "_"), FIELDS, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are model, {', '.join(FIELDS)}"
            raise UsageError(f"{where + ': ' if where else ''}unknown field {name!r}; {hint}")


def parse_fields(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Texts with units as values of a scenario's fields; `where` is the file that they stand in, if it is one.

    Raises UsageError, naming the field and the mend.
    """
    check_fields(table, where)
    return {name: _value(name, text, where) for name, text in table.items() if name != "model"}


def _value(name: str, text: Any, where: str) -> Any:
    kind, label = _KINDS[name], f"{where}: {name}" if where else name
    if kind == "regions":
        return _regions(text, label)
    if kind == "money":
        return parse_money(text, label)
    if kind == "choice":
        return _choice(name, text, label)
    assert kind in ("size", "time", "frequency", "count", "rate", "ratio")
    value = parse(text, kind, label)  # type: ignore[arg-type]  # one of those just named
    if name in _LEAST_ONE and value <= 0:
        raise UsageError(f"{label} = {text!r}: it must be above 0")
    if kind == "ratio" and value > 1:
        raise UsageError(f"{label} = {text!r}: a part of a whole is at most 100%")
    if kind == "count" and name != "vcpus" and value != int(value):
        raise UsageError(f"{label} = {text!r}: it is a whole number")
    return int(value) if kind == "size" or (kind == "count" and name != "vcpus") else value


def _choice(name: str, text: Any, label: str) -> str:
    known = _CHOICES.get(name)
    if isinstance(text, list | tuple) or (known and "," in str(text)):
        raise UsageError(f"{label} = {text!r}: give one; compare two by running it twice")
    if known and text not in known:
        near = get_close_matches(str(text), known, 1)
        raise UsageError(
            f"{label} = {text!r} is none of {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else "")
        )
    if not isinstance(text, str) or not text:
        raise UsageError(f"{label} = {text!r}: write a name")
    return text


def _regions(text: Any, label: str) -> tuple[str, ...]:
    """Names, from a list or with commas."""
    names = text.split(",") if isinstance(text, str) else text
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name.strip() for name in names):
        raise UsageError(f"{label} = {text!r}: write names of regions, as cn-hangzhou,cn-beijing")
    found = tuple(dict.fromkeys(name.strip() for name in names))
    if not found:
        raise UsageError(f"{label}: there is none; write cn-hangzhou")
    return found


def make_scenario(values: Mapping[str, Any], facts: Facts) -> Scenario:
    """A scenario of parsed fields, what is missing filled in and named in `assumed`. Raises UsageError, NotFound."""
    if "size" not in values:
        raise UsageError("how large is the model? Name a location (STORAGE//NAME:VERSION), or give --size 4GiB")
    platform = values.get("platform", PLATFORMS[0])
    gpu = values.get("gpu", "ada")
    if facts.find(f"gpu.{gpu}.active") is None:
        known = sorted({fact.id.split(".")[1] for fact in facts if fact.id.endswith(".transfer-rate")})
        raise UsageError(f"gpu = {gpu!r}: its price is not known; there are {', '.join(known)}")
    mode, instances = values.get("mode", MODES[0]), values.get("instances", 1)
    regions = values.get("regions", ("cn-hangzhou",) if platform == PLATFORMS[0] else ("any",))
    bursts = values.get("bursts", 1 / DAY)
    a_day = bursts * DAY if mode == "provisioned" else _STARTS_A_DAY[mode]
    filled = {
        "deadline": facts.get(f"{platform}.deadline.port-check", "time"),
        "link": facts.get(f"{platform}.link", "rate"),
        "gpu_memory": int(facts.get(f"gpu.{gpu}.memory", "size")),
        "starts": a_day / DAY * instances * len(regions),
        "regions": regions,
    }
    assumed = frozenset(name for name in FIELDS if name not in values)
    made = Scenario(**{**filled, **dict(values)}, assumed=assumed)
    if made.instances_per_host > made.instances:
        made = replace(made, instances_per_host=made.instances)
    return made
