"""Warm-up: a Job on so many nodes, or a DaemonSet on every node, that brings a version into the cache of the host."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from hoist.deploy.cluster import Cluster, Manifest, confined, labels, metadata, pod
from hoist.deploy.pod_storage import PodStorage, fillers
from hoist.deploy.workload import Workload
from hoist.deploy.yaml_text import Document, Path
from hoist.errors import UsageError

_KEPT_SECONDS = 3600
_TRIES = 6


@dataclass(frozen=True, slots=True)
class Warming:
    """`nodes`: a Job on so many; None: a DaemonSet, on every node, also those that come later."""

    nodes: int | None = None


def warm_manifest(workload: Workload, cluster: Cluster, storage: PodStorage, warming: Warming) -> Manifest:
    """The Job or DaemonSet. Raises UsageError where there is no cache of the host."""
    if not storage.is_cache or cluster.cache != "host":
        raise UsageError("warming fills the cache of hosts: it goes with models in a bucket and with --cache host")
    if warming.nodes is not None and warming.nodes < 1:
        raise UsageError("--warm-nodes is 1 or more")
    image = cluster.hoist_image or workload.image
    filling = fillers(workload.models, storage, image, cluster, beside=False)
    return (
        _job(workload, cluster, storage, filling, warming.nodes)
        if warming.nodes
        else _daemons(workload, cluster, storage, filling)
    )


def _job(
    workload: Workload, cluster: Cluster, storage: PodStorage, filling: list[dict[str, Any]], nodes: int
) -> Manifest:
    *before, last = filling
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels(workload.name, "warm")}}
    spec = pod(
        [last],
        cluster,
        restartPolicy="OnFailure",
        initContainers=before,
        volumes=storage.volumes,
        affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}} if nodes > 1 else None,
    )
    template = {"metadata": {"labels": labels(workload.name, "warm")}, "spec": spec}
    name = f"{workload.name}-warm-{_digest([template, nodes])}"
    data = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(name, "warm", cluster, workload.name),
        "spec": {
            "parallelism": nodes,
            "completions": nodes,
            "backoffLimit": _TRIES,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": template,
        },
    }
    notes: dict[Path, str] = {("metadata",): "A Job's template cannot be changed, so each one has a name of its own."}
    if nodes > 1:
        notes[("spec", "template", "spec", "affinity")] = "Each pod on another node."
    title = "Brings the models into the cache of nodes before they are needed: apply it, and wait until it is complete."
    return Manifest("warm.yaml", Document(data, title, notes))


def _daemons(workload: Workload, cluster: Cluster, storage: PodStorage, filling: list[dict[str, Any]]) -> Manifest:
    small = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    rest = {
        "name": "done",
        "image": cluster.hoist_image or workload.image,
        "command": ["sleep", "infinity"],
        "securityContext": confined(),
        "resources": small,
    }
    spec = pod([rest], cluster, initContainers=filling, volumes=storage.volumes, terminationGracePeriodSeconds=1)
    match = labels(workload.name, "warm")
    data = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(f"{workload.name}-warm", "warm", cluster, workload.name),
        "spec": {"selector": {"matchLabels": match}, "template": {"metadata": {"labels": match}, "spec": spec}},
    }
    title = "Brings the models into the cache of every node (those of nodeSelector), also of nodes that come later."
    return Manifest("warm.yaml", Document(data, title))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
