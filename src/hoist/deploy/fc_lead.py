"""A function that somebody has, led to a storage: mounts, network, role and variables of a new one are laid over its own."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from hoist.deploy.fc import health_check
from hoist.deploy.fc_limits import Limits
from hoist.deploy.fc_mounts import points
from hoist.deploy.fc_rules import Props, table
from hoist.deploy.fc_storage import Network, storage_props
from hoist.deploy.findings import Finding
from hoist.deploy.secrets import refuse_secrets
from hoist.deploy.source import Model, Source
from hoist.errors import UsageError

_SAME = {"nasConfig": ("serverAddr",), "ossMountConfig": ("bucketName", "bucketPath")}


def lead(
    props: Props,
    where: str,
    source: Source,
    models: Sequence[Model],
    network: Network,
    limits: Limits,
    *,
    image: str | None = None,
    region: str | None = None,
    known_secrets: Sequence[str] = (),
) -> list[Finding]:
    """Lay a storage over a function, in place. What is there already for the same storage is kept; nothing is taken away.

    Raises UsageError for what the storage needs and nobody has said.
    """
    placed = storage_props(source, _completed(network, props), region or str(props.get("region")))
    refuse_secrets([placed.props, placed.env], known_secrets)
    found = []
    for name, value in placed.props.items():
        changed = _mount(props, name, value, where) if name in _SAME else _set(props, name, value)
        found += [Finding("corrected", f"{where}.{name}", text) for text in changed]
    for name, value in placed.env.items():
        env = _table(props, "environmentVariables", where)
        found += [Finding("corrected", f"{where}.environmentVariables.{name}", text) for text in _set(env, name, value)]
    container = table(props, "customContainerConfig")
    if image:
        changed = _set(_table(props, "customContainerConfig", where), "image", image)
        found += [Finding("corrected", f"{where}.customContainerConfig.image", text) for text in changed]
    if _serves(container):
        found += _served(props, container, where, [model.at(placed.address) for model in models], limits)
    else:
        listed = " ".join(model.at(placed.address) for model in models)
        text = f"the command is not hoist serve: have it read {listed}"
        found.append(Finding("note", f"{where}.customContainerConfig.command", text))
    return found


def _completed(network: Network, props: Props) -> Network:
    """What the function says already need not be said again."""
    if not network.role and isinstance(props.get("role"), str):
        network = replace(network, role=props["role"])
    vpc = props.get("vpcConfig")
    if not network.vpc and vpc == "auto":
        network = replace(network, vpc="auto")
    elif not network.vpc and isinstance(vpc, Mapping) and isinstance(vpc.get("vSwitchIds"), list | str):
        switches = vpc["vSwitchIds"]
        network = replace(
            network,
            vpc=str(vpc.get("vpcId", "")),
            vswitches=[switches] if isinstance(switches, str) else list(switches),
            security_group=str(vpc.get("securityGroupId", "")),
        )
    return network


def _set(table: MutableMapping[str, Any], name: str, value: Any) -> list[str]:
    if table.get(name) == value:
        return []
    said = "changed" if name in table else "added"
    table[name] = value
    return [said]


def _mount(props: Props, name: str, value: Mapping[str, Any], where: str) -> list[str]:
    """Add a mount point, unless there is one of the same storage: that one gets the endpoint."""
    wanted = value["mountPoints"][0]
    if not isinstance(props.get(name), Mapping):
        props[name] = {key: _copied(item) for key, item in value.items()}
        return ["added"]
    for point in points(props, name):
        if all(str(point.get(key, "")).strip("/") == str(wanted[key]).strip("/") for key in _SAME[name]):
            changed = [key for key in ("endpoint", "mountDir") if key in wanted and point.get(key) != wanted[key]]
            for key in changed:
                point[key] = wanted[key]
            return [f"{key} of its mount point changed" for key in changed]
    listed = props[name].setdefault("mountPoints", [])
    if not isinstance(listed, list):
        raise UsageError(f"{where}.{name}.mountPoints is no list of mount points, and so none can be added")
    listed.append(dict(wanted))
    return ["a mount point added"]


def _table(props: Props, name: str, where: str) -> MutableMapping[str, Any]:
    """The table of a name; made where there is nothing."""
    if props.get(name) is None:
        props[name] = {}
    found = props[name]
    if not isinstance(found, MutableMapping):
        raise UsageError(f"{where}.{name} is no table of fields, and so none can be added")
    return found


def _copied(value: Any) -> Any:
    return [dict(item) for item in value] if isinstance(value, list) else value


def _serves(container: Mapping[str, Any]) -> bool:
    words = [str(word) for name in ("entrypoint", "command") for word in container.get(name) or ()]
    return "serve" in words and any(word.rpartition("/")[2] == "hoist" for word in words)


def _served(props: Props, container: Props, where: str, models: Sequence[str], limits: Limits) -> list[Finding]:
    """What `hoist serve` can answer is asked of it, and it is told of the models."""
    found = []
    for name in ("entrypoint", "command"):
        words = container.get(name)
        if isinstance(words, list) and "--models" in words:
            begin = words.index("--models") + 1
            end = next((at for at in range(begin, len(words)) if str(words[at]).startswith("-")), len(words))
            if [str(word) for word in words[begin:end]] != list(models):
                for _ in range(begin, end):
                    words.pop(begin)
                for at, model in enumerate(models, begin):
                    words.insert(at, model)
                found.append(
                    Finding("corrected", f"{where}.customContainerConfig.{name}", "--models names the new storage")
                )
    if not table(container, "healthCheckConfig"):
        container["healthCheckConfig"] = health_check(limits)
        text = "added: /healthz answers before the model is there"
        found.append(Finding("corrected", f"{where}.customContainerConfig.healthCheckConfig", text))
    hooks = _table(props, "instanceLifecycleConfig", where)
    for name, handler, seconds in (
        ("initializer", "initialize", limits.initializer),
        ("preStop", "pre-stop", limits.pre_stop),
    ):
        if not table(hooks, name):
            hooks[name] = {"handler": handler, "timeout": seconds}
            text = f"added: hoist serve answers /{handler}"
            found.append(Finding("corrected", f"{where}.instanceLifecycleConfig.{name}", text))
    return found
