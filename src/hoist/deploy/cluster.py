"""What is asked of a Kubernetes cluster, and what all of its manifests have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hoist.deploy.yaml_text import Document
from hoist.errors import UsageError

CACHES = ("host", "pod", "memory")
CACHE_FOLDER = "/var/cache/hoist"
_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:m|[KMGTP]i?|k)?")
_DNS = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is asked. `cache` is where verified blocks are kept: on the host (`cache_folder`, shared by its pods), in the
    disk or the memory of the pod. `fill`: by a sidecar beside the function, or by an init container before it."""

    namespace: str | None = None
    replicas: int = 1
    gpus: int = 1
    cpu: str | None = None
    memory: str | None = None
    secret: str | None = None
    service_account: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    nas_server: str | None = None
    model_image: str | None = None
    cache: str = "host"
    cache_folder: str = CACHE_FOLDER
    cache_size: str = "100Gi"
    fill: str = "sidecar"
    hoist_image: str | None = None

    def __post_init__(self) -> None:
        for option, value in (("--cpu", self.cpu), ("--memory", self.memory), ("--cache-size", self.cache_size)):
            check_quantity(option, value)
        for option, name in (
            ("--namespace", self.namespace),
            ("--secret", self.secret),
            ("--service-account", self.service_account),
        ):
            if name is not None and not _DNS.fullmatch(name):
                raise UsageError(f"{option} {name!r} is no name of Kubernetes: small letters, digits, hyphens")
        if self.cache not in CACHES or self.fill not in ("sidecar", "init"):
            raise UsageError(f"--cache is one of {', '.join(CACHES)}, --fill is sidecar or init")
        if self.replicas < 0 or self.gpus < 0:
            raise UsageError("--replicas and --gpus are 0 or more")
        if not self.cache_folder.startswith("/") or ".." in self.cache_folder.split("/"):
            raise UsageError(f"--cache-folder {self.cache_folder!r} is an absolute path, as {CACHE_FOLDER}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object, and the file that it goes to when each has one."""

    file: str
    document: Document


def check_quantity(option: str, value: str | None) -> None:
    """Raise UsageError for what is no quantity of Kubernetes."""
    if value is not None and not _QUANTITY.fullmatch(value):
        raise UsageError(f"{option} {value!r} is no quantity of Kubernetes, as 500m, 8 or 100Gi")


def metadata(name: str, component: str, cluster: Cluster, app: str) -> dict[str, Any]:
    """An object's name and labels."""
    found: dict[str, Any] = {"name": name}
    if cluster.namespace:
        found["namespace"] = cluster.namespace
    return found | {"labels": labels(app, component)}


def labels(app: str, component: str) -> dict[str, str]:
    """What selectors go by: nothing in it changes from version to version."""
    return {"app.kubernetes.io/name": app, "app.kubernetes.io/component": component}


def container_env(env: Mapping[str, str], cluster: Cluster) -> dict[str, Any]:
    """A container's variables; those that are secret come from a secret by its name."""
    found: dict[str, Any] = {}
    if env:
        found["env"] = [{"name": name, "value": value} for name, value in env.items()]
    if cluster.secret:
        found["envFrom"] = [{"secretRef": {"name": cluster.secret}}]
    return found


def pod(containers: Sequence[Mapping[str, Any]], cluster: Cluster, **more: Any) -> dict[str, Any]:
    """A pod's spec."""
    found: dict[str, Any] = {"enableServiceLinks": False}
    if cluster.service_account:
        found["serviceAccountName"] = cluster.service_account
    else:
        found["automountServiceAccountToken"] = False
    if cluster.node_selector:
        found["nodeSelector"] = dict(cluster.node_selector)
    volumes = more.pop("volumes", None)
    found |= {name: value for name, value in more.items() if value} | {"containers": list(containers)}
    return found | ({"volumes": volumes} if volumes else {})


def confined(*needed: str) -> dict[str, Any]:
    """What a container does not need, taken away."""
    capabilities = {"drop": ["ALL"]} | ({"add": list(needed)} if needed else {})
    return {"allowPrivilegeEscalation": False, "capabilities": capabilities}
