"""What Function Compute refuses in an s.yaml, from the shipped facts or the user's over them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from hoist.advise.facts import Facts

MIB = 1 << 20
COMPONENT = "fc3"
SERVICE_COMPONENTS = ("fc", "fc-deploy", "fc-base")
"""Of FC 2.0, where NAS, OSS and VPC are the service's."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in MB as an s.yaml has them (MiB), times in seconds, `image` in bytes."""

    nas_mounts: int
    oss_mounts: int
    disks: tuple[int, ...]
    memory: int
    image: int
    port_check: int
    initializer: int
    pre_stop: int


def limits_of(facts: Facts) -> Limits:
    """The limits. Raises NotFound, InvalidConfig for facts that a user has broken."""

    def megabytes(name: str) -> int:
        return int(facts.get(f"function-compute.{name}", "size")) // MIB

    def seconds(name: str) -> int:
        return int(facts.get(f"function-compute.deadline.{name}", "time"))

    return Limits(
        nas_mounts=int(facts.get("function-compute.mounts.nas", "count")),
        oss_mounts=int(facts.get("function-compute.mounts.oss", "count")),
        disks=tuple(sorted((megabytes("disk.small"), megabytes("disk.large")))),
        memory=megabytes("memory.most"),
        image=int(facts.get("function-compute.image.most", "size")),
        port_check=seconds("port-check"),
        initializer=seconds("initializer"),
        pre_stop=seconds("pre-stop"),
    )


@cache
def known_fields() -> Mapping[str, tuple[str, ...]]:
    """The fields of a function, by the field that they stand in; a field that is not here may hold anything."""
    text = files("hoist.deploy").joinpath("schemas").joinpath("fc3.toml").read_text("utf-8")
    return {path: tuple(names) for path, names in tomllib.loads(text).items()}
