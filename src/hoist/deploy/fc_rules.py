"""The rules that a function in an s.yaml must keep: each looks at its props, mends what has one mend, and says so.

The props are changed in place; a value that is a variable (`${...}`) is nobody's to judge, and stays.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, MutableMapping
from difflib import get_close_matches
from typing import Any

from hoist.deploy.fc_limits import Limits, known_fields
from hoist.deploy.fc_mounts import mounts
from hoist.deploy.findings import Finding
from hoist.deploy.secrets import is_secret_name, secret_in

Props = MutableMapping[str, Any]
_MEMORY_STEP = 64
_HEALTH = {"initialDelaySeconds": 0, "periodSeconds": 3, "failureThreshold": 3}


def check(props: Props, where: str, limits: Limits, image_size: int | None = None) -> list[Finding]:
    """Judge and mend one function. `image_size`: of its image, in bytes, as it is stored."""
    found = [*memory(props, where, limits), *disk(props, where, limits), *mounts(props, where, limits)]
    found += [*lifecycle(props, where, limits), *health(props, where, limits), *gpu(props, where)]
    found += [*image(props, where, limits, image_size), *secrets(props, where), *unknown(props, where)]
    return found


def table(value: Any, name: str) -> MutableMapping[str, Any]:
    """A table in a table; an empty one where there is none."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, MutableMapping) else {}


def number(value: Any) -> float | None:
    """A number, or None for what is none."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_one else None


def memory(props: Props, where: str, limits: Limits) -> Iterator[Finding]:
    """In steps of 64 MB, up to what an instance has."""
    size = number(props.get("memorySize"))
    if size is None:
        return
    fits = min(max(-(-int(size) // _MEMORY_STEP) * _MEMORY_STEP, 128), limits.memory)
    if fits != size:
        props["memorySize"] = fits
        yield Finding(
            "corrected", f"{where}.memorySize", f"{size:g} is now {fits}: 128 to {limits.memory} MB, in steps of 64"
        )


def disk(props: Props, where: str, limits: Limits) -> Iterator[Finding]:
    """One of two sizes."""
    size = number(props.get("diskSize"))
    if size is None or size in limits.disks:
        return
    fits = next((each for each in limits.disks if each >= size), limits.disks[-1])
    props["diskSize"] = fits
    yield Finding(
        "corrected", f"{where}.diskSize", f"{size:g} is now {fits}: it is {' or '.join(map(str, limits.disks))} MB"
    )


def lifecycle(props: Props, where: str, limits: Limits) -> Iterator[Finding]:
    """Hooks end at their deadlines, whatever is written."""
    hooks = table(props, "instanceLifecycleConfig")
    for name, most in (("initializer", limits.initializer), ("preStop", limits.pre_stop)):
        hook = table(hooks, name)
        seconds = number(hook.get("timeout"))
        if seconds is not None and not 1 <= seconds <= most:
            hook["timeout"] = min(max(int(seconds), 1), most)
            text = f"{seconds:g} is now {hook['timeout']}: 1 to {most} seconds"
            yield Finding("corrected", f"{where}.instanceLifecycleConfig.{name}.timeout", text)


def health(props: Props, where: str, limits: Limits) -> Iterator[Finding]:
    """The port must answer within the platform's own deadline, so a check that would wait longer never does."""
    for runtime in ("customContainerConfig", "customRuntimeConfig"):
        config = table(table(props, runtime), "healthCheckConfig")
        values = {name: number(config.get(name, usual)) for name, usual in _HEALTH.items()}
        delay, period, failures = values.values()
        if not config or delay is None or period is None or failures is None or period <= 0:
            continue
        if delay + period * failures <= limits.port_check:
            continue
        delay = min(int(delay), limits.port_check - 1)
        fits = max(int((limits.port_check - delay) // period), 1)
        if values["initialDelaySeconds"] != delay:
            config["initialDelaySeconds"] = delay
        config["failureThreshold"] = fits
        text = (
            f"failureThreshold is now {fits}: an instance whose port does not answer in {limits.port_check} s is ended"
        )
        yield Finding("corrected", f"{where}.{runtime}.healthCheckConfig", text)


def gpu(props: Props, where: str) -> Iterator[Finding]:
    """GPU instances run images; what loads before it listens has the shorter of two deadlines."""
    if not table(props, "gpuConfig"):
        return
    runtime = props.get("runtime")
    if isinstance(runtime, str) and "${" not in runtime and runtime != "custom-container":
        yield Finding("wrong", f"{where}.runtime", f"a GPU function is of runtime custom-container, not {runtime}")
    if not table(table(props, "instanceLifecycleConfig"), "initializer"):
        text = (
            "without an initializer the model must be there by the port check: listen first, load in POST /initialize"
        )
        yield Finding("note", f"{where}.instanceLifecycleConfig", text)


def image(props: Props, where: str, limits: Limits, size: int | None) -> Iterator[Finding]:
    """What is not taken shows only when it is deployed; a size must be given, as nothing here asks a registry."""
    if size is not None and size > limits.image:
        text = (
            f"the image has {size / 1e9:.1f} GB, and a GPU image {limits.image / 1e9:g} GB at most: keep the models "
            "in an object store or a NAS (--storage oss, accl or nas)"
        )
        yield Finding("wrong", f"{where}.customContainerConfig.image", text)


def secrets(props: Props, where: str) -> Iterator[Finding]:
    """A secret in a file is read by everybody who reads the file."""
    for name, value in table(props, "environmentVariables").items():
        plain = "" if value is None or isinstance(value, bool) else re.sub(r"\$\{[^}]*\}", "", str(value))
        if plain and (is_secret_name(str(name)) or secret_in(plain)):
            text = f"holds a secret: write \"${{env('{name}')}}\", which s deploy fills in; or give the function a role"
            yield Finding("wrong", f"{where}.environmentVariables.{name}", text)
    password = table(table(table(props, "customContainerConfig"), "registryConfig"), "authConfig").get("password")
    if isinstance(password, str) and "${" not in password:
        text = "holds a secret: write \"${env('REGISTRY_PASSWORD')}\""
        yield Finding("wrong", f"{where}.customContainerConfig.registryConfig.authConfig.password", text)


def unknown(props: Mapping[str, Any], where: str, inside: str = "") -> Iterator[Finding]:
    """Fields that FC 3.0 does not have, or has since; they stay."""
    known = known_fields().get(inside)
    if known is None:
        return
    for name, value in props.items():
        if str(name) not in known:
            near = get_close_matches(str(name), known, 1, 0.75)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield Finding("kept", f"{where}.{name}", f"unknown field, left as it is{hint}")
            continue
        below = f"{inside}.{name}" if inside else str(name)
        for at, item in enumerate(value if isinstance(value, list) else [value]):
            place = f"{where}.{name}[{at}]" if isinstance(value, list) else f"{where}.{name}"
            if isinstance(item, Mapping):
                yield from unknown(item, place, below)
