"""Accelerators in a cluster: `hoist accelerate` before the bucket, a Deployment and a Service for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hoist.deploy.cluster import Cluster, Manifest, check_quantity, confined, labels, metadata, pod
from hoist.deploy.source import merged
from hoist.deploy.workload import Workload
from hoist.deploy.yaml_text import Document, Path
from hoist.errors import UsageError
from hoist.settings import parse_size

_PORT = 8080
_FOLDER = "/var/cache/accelerator"


@dataclass(frozen=True, slots=True)
class Accelerators:
    """How many, and how many bytes each keeps (a quantity of Kubernetes, as `500Gi`)."""

    count: int = 1
    size: str = "100Gi"


def accelerator_addresses(app: str, cluster: Cluster, accelerators: Accelerators) -> tuple[str, ...]:
    """What readers are told: all of them, since each byte has one that it is cached by."""
    domain = f".{cluster.namespace}.svc" if cluster.namespace else ""
    return tuple(f"http://{_name(app, number)}{domain}:{_PORT}" for number in range(1, accelerators.count + 1))


def accelerator_manifests(workload: Workload, cluster: Cluster, accelerators: Accelerators) -> list[Manifest]:
    """A Deployment and a Service for each. Raises UsageError where there is no bucket to stand before."""
    if not workload.source.is_bucket:
        raise UsageError("an accelerator stands before an object store (s3://, oss://, gs://, az://)")
    if accelerators.count < 1:
        raise UsageError("--accelerators is 1 or more")
    check_quantity("--accelerator-size", accelerators.size)
    found = []
    for number in range(1, accelerators.count + 1):
        found += [_deployment(workload, cluster, accelerators, number), _service(workload, cluster, number)]
    return found


def _name(app: str, number: int) -> str:
    return f"{app}-accelerator-{number}"


def _deployment(workload: Workload, cluster: Cluster, accelerators: Accelerators, number: int) -> Manifest:
    name = _name(workload.name, number)
    match = labels(workload.name, "accelerator") | {"app.kubernetes.io/instance": str(number)}
    listen = ["--listen", f"0.0.0.0:{_PORT}", "--cache-dir", f"{_FOLDER}/slices", "--size", _bytes(accelerators.size)]
    env = merged(workload.source.variables(accelerator=None, kind=None))
    container: dict[str, Any] = {
        "name": "accelerate",
        "image": cluster.hoist_image or workload.image,
        "command": ["hoist", "accelerate", "--origin", workload.source.name, *listen],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "ports": [{"name": "http", "containerPort": _PORT}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 2},
        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 10, "failureThreshold": 6},
        # nginx's workers become the user that the folder belongs to.
        "securityContext": confined("SETGID", "SETUID", "CHOWN"),
        "resources": {"requests": {"ephemeral-storage": accelerators.size}},
        "volumeMounts": [{"name": "slices", "mountPath": _FOLDER}],
    }
    # It needs no GPU, so it is not led to the nodes that have some.
    spec = pod(
        [container],
        replace(cluster, node_selector={}, service_account=None),
        volumes=[{"name": "slices", "emptyDir": {}}],
    )
    data = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, "accelerator", cluster, workload.name),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": match},
            "template": {"metadata": {"labels": match}, "spec": spec},
        },
    }
    base: Path = ("spec", "template", "spec")
    notes: dict[Path, str] = {
        (
            "spec",
            "replicas",
        ): "Each byte has one accelerator that keeps it: more of them are more Deployments, and readers know all.",
        (
            *base,
            "containers",
        ): "Its image has Hoist and nginx. It holds no credentials: each reader's own request is what the bucket checks.",
        (*base, "volumes"): "Cached slices: what is lost with the pod is fetched again.",
    }
    title = f"A read cache before {workload.source.name}: many instances that load one model cost the bucket one copy."
    return Manifest(f"accelerator-{number}.yaml", Document(data, title, notes))


def _service(workload: Workload, cluster: Cluster, number: int) -> Manifest:
    match = labels(workload.name, "accelerator") | {"app.kubernetes.io/instance": str(number)}
    data = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(_name(workload.name, number), "accelerator", cluster, workload.name),
        "spec": {"selector": match, "ports": [{"name": "http", "port": _PORT, "targetPort": "http"}]},
    }
    return Manifest(f"accelerator-{number}-service.yaml", Document(data, "What readers are told of as accelerator."))


def _bytes(quantity: str) -> str:
    """Bytes of a quantity, for Hoist, in whose sizes `G` and `Gi` are one; a tenth is left for what nginx has on its way."""
    text = quantity
    if text[-1:] in "kKMGTP" and text[-1:].isalpha():
        number, power = float(text[:-1]), "kMGTP".index("k" if text[-1] == "K" else text[-1]) + 1
        return str(int(number * 1000**power * 0.9))
    return str(int(parse_size(text) * 0.9))
