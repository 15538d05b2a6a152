"""What an existing Serverless Devs `s.yaml` of Function Compute 3.0 says of a case: GPU, instance, mounts, provisioning.

Only reads. Of version 1 or 2 (component `fc`, with storage on the service) only the region is taken, and that is said;
fields that FC 3.0 does not have are named, and nothing is guessed from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hoist.errors import LocalError, UsageError

COMPONENT = "fc3"
# Of a function, as devsapp/fc3 documents them (docs/zh/yaml).
_KNOWN = (
    *(
        "region",
        "functionName",
        "description",
        "runtime",
        "code",
        "handler",
        "cpu",
        "memorySize",
        "diskSize",
        "timeout",
    ),
    *("instanceConcurrency", "environmentVariables", "layers", "role", "logConfig", "nasConfig", "ossMountConfig"),
    *("vpcConfig", "internetAccess", "gpuConfig", "customContainerConfig", "customRuntimeConfig", "customDNS"),
    *(
        "instanceLifecycleConfig",
        "asyncInvokeConfig",
        "concurrencyConfig",
        "provisionConfig",
        "triggers",
        "customDomain",
    ),
    *("vpcBinding", "aliasName", "tags", "tracingConfig", "sessionAffinity", "resourceGroupId", "annotations"),
    *("instanceIsolationMode", "disableOndemand", "scalingConfig", "idleTimeout", "enableLongLiving", "artifact"),
)
_GPUS = {"tesla": "tesla", "t4": "tesla", "ada": "ada"}
_LARGEST = 1e9
_VARIABLE = re.compile(r"\$\{vars\.([A-Za-z0-9_.-]+)\}")
_MOST_BYTES, _MOST_VALUES = 1 << 20, 100_000


@dataclass(frozen=True, slots=True)
class FoundFunction:
    """What was found: fields of a scenario, the storages that the function mounts, and notes for the reader."""

    name: str
    fields: Mapping[str, Any]
    mounts: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_function(path: Path, resource: str | None = None) -> FoundFunction:
    """The function of an `s.yaml`; `resource` names one where there are several. Raises UsageError, LocalError."""
    document = _load(path)
    resources = document.get("resources", document.get("services"))
    if not isinstance(resources, dict) or not resources:
        raise UsageError(
            f"{path}: it has no resources: an s.yaml of FC 3.0 has resources: NAME: component: fc3, props: ..."
        )
    name = resource or next(iter(resources))
    if name not in resources:
        raise UsageError(f"{path}: there is no resource {name!r}; there are {', '.join(map(str, resources))}")
    if resource is None and len(resources) > 1:
        raise UsageError(f"{path}: it has several functions ({', '.join(map(str, resources))}): give --resource NAME")
    found = resources[name]
    props = found.get("props") if isinstance(found, dict) else None
    if not isinstance(props, dict):
        raise UsageError(f"{path}: resource {name!r} has no props")
    props = _resolved(props, document.get("vars", {}), path)
    component = str(found.get("component", ""))
    if component.rpartition("/")[2].partition("@")[0] != COMPONENT:
        note = (
            f"{path}: component {component or '(none)'} is not {COMPONENT}: it is of version 1 or 2, where storage, VPC and "
            "scaling stand elsewhere; only its region is read. Serverless Devs has a migration to FC 3.0"
        )
        return FoundFunction(str(name), _region(props), (), (note,))
    return _function(str(name), props, str(path))


def _load(path: Path) -> dict[str, Any]:
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ModuleNotFoundError:
        raise LocalError("reading an s.yaml needs ruamel.yaml: pip install 'hoist[deploy]'") from None
    try:
        text = path.read_text("utf-8")
        if len(text) > _MOST_BYTES:
            raise UsageError(f"{path}: more than 1 MiB is no s.yaml")
        # The safe loader: an s.yaml is data, and makes no objects.
        document = YAML(typ="safe", pure=True).load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}: not an s.yaml: it has no fields")
    return document


def _resolved(value: Any, variables: Any, path: Path) -> Any:
    """The value with `${vars.NAME}` filled in; what has no such variable stays as it is.

    Raises UsageError for anchors that stand for more than any function has.
    """
    left = iter(range(_MOST_VALUES))

    def resolved(value: Any) -> Any:
        if next(left, None) is None:
            raise UsageError(f"{path}: its anchors stand for more than {_MOST_VALUES:,} values")
        if isinstance(value, dict):
            return {key: resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [resolved(item) for item in value]
        found = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
        return variables.get(found[1], value) if found and isinstance(variables, dict) else value

    try:
        return resolved(value)
    except RecursionError:
        raise UsageError(f"{path}: it holds itself, or is nested too deep") from None


def _region(props: Mapping[str, Any]) -> dict[str, Any]:
    region = props.get("region")
    return {"regions": (region,)} if isinstance(region, str) and "${" not in region else {}


def _function(name: str, props: Mapping[str, Any], where: str) -> FoundFunction:
    fields: dict[str, Any] = _region(props)
    fields |= _instance(props)
    fields |= _provision(_table(props, "provisionConfig"))
    seconds = _number(_table(_table(props, "instanceLifecycleConfig"), "initializer").get("timeout"))
    if seconds:
        fields["deadline"] = float(seconds)
    return FoundFunction(name, fields, tuple(_mounts(props)), tuple(_notes(props, where)))


def _instance(props: Mapping[str, Any]) -> dict[str, Any]:
    """GPU, memory and vCPUs of one instance; s.yaml has memory in MB."""
    fields: dict[str, Any] = {}
    gpu = _table(props, "gpuConfig")
    kind = next((kind for part, kind in _GPUS.items() if part in str(gpu.get("gpuType", "")).lower()), None)
    if kind:
        fields["gpu"] = kind
    for key, value, factor in (
        ("gpu_memory", gpu.get("gpuMemorySize"), 1 << 20),
        ("memory", props.get("memorySize"), 1 << 20),
    ):
        if _number(value):
            fields[key] = int(_number(value) * factor)
    if _number(props.get("cpu")):
        fields["vcpus"] = float(_number(props["cpu"]))
    return fields


def _provision(config: Mapping[str, Any]) -> dict[str, Any]:
    """The usage mode: provisioned with a schedule or by a metric, idle with a fixed number, else on-demand."""
    scheduled, tracked = _tables(config, "scheduledActions"), _tables(config, "targetTrackingPolicies")
    fixed = max(int(_number(config.get(name))) for name in ("target", "defaultTarget"))
    targets = [each.get("target") for each in scheduled] + [each.get("maxCapacity") for each in tracked]
    most = max([fixed, *(int(_number(target)) for target in targets)])
    if scheduled or tracked:
        return {"mode": "provisioned", **({"instances": most} if most else {})}
    if fixed:
        idle = config.get("alwaysAllocateGPU") is not True
        return {"mode": "idle" if idle else "provisioned", "instances": fixed}
    return {"mode": "on-demand"}


def _mounts(props: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(props.get("nasConfig"), str) or _table(props, "nasConfig").get("mountPoints"):
        yield "nas"
    if isinstance(props.get("ossMountConfig"), str) or _table(props, "ossMountConfig").get("mountPoints"):
        yield "oss"


def _notes(props: Mapping[str, Any], where: str) -> Iterator[str]:
    for key in props:
        if key not in _KNOWN:
            near = get_close_matches(str(key), _KNOWN, 1, 0.7)
            yield f"{where}: field {key} is not of FC 3.0 as it is known here" + (f" ({near[0]}?)" if near else "")
    kind = str(_table(props, "gpuConfig").get("gpuType", ""))
    if kind and not any(part in kind.lower() for part in _GPUS):
        yield f"{where}: the price of gpuType {kind} is not known: give it as facts, or say --gpu"


def _table(above: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = above.get(name)
    return value if isinstance(value, dict) else {}


def _tables(above: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = above.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float:
    """A number of the file; 0 for what is none, or none that an instance could have."""
    if isinstance(value, bool):
        return 0.0
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return found if 0 < found <= _LARGEST else 0.0
