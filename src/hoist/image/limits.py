"""What platforms, registries and runtimes take of an image, and what to do where it is too large: limits.toml, applied."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from typing import Literal

Of = Literal["image", "unpacked", "layer", "layers"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, in bytes, or a count where it is `of` layers; see limits.toml."""

    name: str
    kind: str
    of: Of
    most: int
    hard: bool
    note: str
    source: str
    read: str
    url: str = ""
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measures:
    """An image as limits see it. `unpacked` counts a compressed layer of unknown content as it is sent: it is a lower
    bound where `exact` is false."""

    image: int
    unpacked: int
    layer: int
    layers: int
    exact: bool = True

    def of(self, what: Of) -> int:
        """The measure that a limit is of."""
        return {"image": self.image, "unpacked": self.unpacked, "layer": self.layer, "layers": self.layers}[what]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A limit, how much of it the image uses, and the mend where that is too much."""

    limit: Limit
    used: int
    mend: str = ""

    @property
    def fits(self) -> bool:
        """Whether the image is within the limit."""
        return self.used <= self.limit.most


@cache
def limits() -> tuple[Limit, ...]:
    """All that are known."""
    document = tomllib.loads(files("hoist.image").joinpath("limits.toml").read_text("utf-8"))
    return tuple(Limit(**{**item, "hosts": tuple(item.get("hosts", ()))}) for item in document["limit"])


def judge(measures: Measures, host: str = "", known: Iterable[Limit] | None = None) -> list[Verdict]:
    """The image against every limit; those of other registries than `host` are left out, if that is said."""
    found = []
    for limit in limits() if known is None else known:
        if limit.hosts and host and not any(fnmatch(host, pattern) for pattern in limit.hosts):
            continue
        used = measures.of(limit.of)
        found.append(Verdict(limit, used, "" if used <= limit.most else _mend(limit, used)))
    return found


def _mend(limit: Limit, used: int) -> str:
    if limit.of == "layers":
        return "fewer, larger files: reshard the checkpoint, or take a base of fewer layers"
    if limit.of == "layer":
        parts = -(-used // limit.most)
        return f"reshard the checkpoint into files below the limit ({parts} instead of the largest one)"
    return "keep the model in an object store (kind oss: hoist publish FOLDER oss//NAME:VERSION) and out of the image"
