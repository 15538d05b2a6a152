"""Kubernetes manifests: a Deployment of `hoist serve` and its Service; with them warm-up, accelerators and KServe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hoist.deploy.cluster import Cluster, Manifest, confined, container_env, labels, metadata, pod
from hoist.deploy.kserve import storage_container
from hoist.deploy.kubernetes_accelerator import Accelerators, accelerator_addresses, accelerator_manifests
from hoist.deploy.kubernetes_warm import Warming, warm_manifest
from hoist.deploy.pod_storage import PodStorage, fillers, pod_storage
from hoist.deploy.secrets import refuse_secrets
from hoist.deploy.source import merged
from hoist.deploy.workload import DRAIN_SECONDS, PORT, Workload
from hoist.deploy.yaml_text import Document, Path

_START_SECONDS = 120
_LEAVE_SECONDS = 5
_POD: Path = ("spec", "template", "spec")


def manifests(
    workload: Workload,
    cluster: Cluster,
    *,
    warming: Warming | None = None,
    accelerators: Accelerators | None = None,
    kserve: bool = False,
    known_secrets: Sequence[str] = (),
) -> list[Manifest]:
    """All objects, in the order in which they are applied. Raises UsageError."""
    found: list[Manifest] = []
    addresses: tuple[str, ...] = ()
    if accelerators:
        found += accelerator_manifests(workload, cluster, accelerators)
        addresses = accelerator_addresses(workload.name, cluster, accelerators)
    storage = pod_storage(workload.source, workload.models, cluster, addresses)
    if warming:
        found.append(warm_manifest(workload, cluster, storage, warming))
    found += [_deployment(workload, cluster, storage), _service(workload, cluster)]
    if kserve:
        found.append(storage_container(workload, cluster, storage))
    for manifest in found:
        refuse_secrets(manifest.document.data, known_secrets, manifest.file)
    return found


def _deployment(workload: Workload, cluster: Cluster, storage: PodStorage) -> Manifest:
    name = workload.name
    beside = cluster.fill == "sidecar"
    image = cluster.hoist_image or workload.image
    filling = fillers(workload.models, storage, image, cluster, beside=beside) if storage.is_cache else []
    spec = pod(
        [_server(workload, cluster, storage)],
        cluster,
        terminationGracePeriodSeconds=_LEAVE_SECONDS + DRAIN_SECONDS + 10,
        initContainers=filling,
        volumes=storage.volumes,
    )
    data = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, "serve", cluster, name),
        "spec": {
            "replicas": cluster.replicas,
            "selector": {"matchLabels": labels(name, "serve")},
            "template": {"metadata": {"labels": labels(name, "serve")}, "spec": spec},
        },
    }
    notes = _notes(workload, cluster, storage, filling=bool(filling), beside=beside)
    served = ", ".join(str(model.reference) for model in workload.models)
    title = f"hoist serve with {served}. Written by hoist deploy kubernetes."
    return Manifest("deployment.yaml", Document(data, title, {(*_POD, *path): text for path, text in notes.items()}))


def _server(workload: Workload, cluster: Cluster, storage: PodStorage) -> dict[str, Any]:
    env = merged(storage.env, workload.env)
    found: dict[str, Any] = {
        "name": "serve",
        "image": workload.image,
        "command": ["hoist", *workload.serve(storage.address), "--listen", f"0.0.0.0:{PORT}"],
        **container_env(env, cluster),
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": _probe("/healthz", 1, 2, _START_SECONDS),
        "livenessProbe": _probe("/healthz", 10, 5, 3),
        "readinessProbe": _probe("/readyz", 2, 2, 1),
        "lifecycle": {"preStop": {"sleep": {"seconds": _LEAVE_SECONDS}}},
        "securityContext": confined(),
    }
    resources = _resources(cluster)
    if resources:
        found["resources"] = resources
    if storage.mounts:
        found["volumeMounts"] = storage.mounts
    return found


def _probe(path: str, period: int, timeout: int, failures: int) -> dict[str, Any]:
    get = {"path": path, "port": "http"}
    return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}


def _resources(cluster: Cluster) -> dict[str, Any]:
    requests = {name: value for name, value in (("cpu", cluster.cpu), ("memory", cluster.memory)) if value}
    limits = {"memory": cluster.memory} if cluster.memory else {}
    if cluster.gpus:
        limits["nvidia.com/gpu"] = str(cluster.gpus)
    return {name: value for name, value in (("requests", requests), ("limits", limits)) if value}


def _notes(
    workload: Workload, cluster: Cluster, storage: PodStorage, *, filling: bool, beside: bool
) -> dict[Path, str]:
    server: Path = ("containers", 0)
    notes: dict[Path, str] = {
        ("enableServiceLinks",): "Variables of other services could read as Hoist's own.",
        (
            *server,
            "startupProbe",
        ): f"It listens before it loads: {_START_SECONDS} s are for the image's Python to start.",
        (*server, "readinessProbe"): "Ready once the first model is on the device.",
        (*server, "lifecycle"): "Until no proxy sends requests here any more; SIGTERM then finishes those that run.",
    }
    if storage.volumes:
        notes[("volumes",)] = storage.about
    elif storage.about:
        notes[("containers",)] = storage.about
    if filling:
        early = "It fills the cache beside the function, which starts at once and waits only for blocks that it needs."
        notes[("initContainers",)] = early if beside else "They fill the cache before the function starts."
    bucket = workload.source.is_bucket and storage.is_cache and not workload.source.config.anonymous
    if bucket and cluster.secret:
        notes[(*server, "envFrom")] = (
            f"kubectl create secret generic {cluster.secret} --from-env-file=FILE makes it, of {_credentials(workload)}."
        )
    elif bucket:
        notes[(*server, "env")] = "No credentials here: the pod's own identity gives them, or a secret (--secret NAME)."
    return notes


def _credentials(workload: Workload) -> str:
    return {
        "oss": "OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET",
        "gs": "GOOGLE_SERVICE_ACCOUNT_KEY",
        "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    }.get(workload.source.scheme, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def _service(workload: Workload, cluster: Cluster) -> Manifest:
    name = workload.name
    data = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, "serve", cluster, name),
        "spec": {"selector": labels(name, "serve"), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    title = f"POST http://{name}/invoke asks the handler."
    return Manifest("service.yaml", Document(data, title))
