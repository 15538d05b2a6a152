"""KServe: a ClusterStorageContainer, so that `storageUri: hoist://oss//sd15/anything:v5` is pulled, verified, by Hoist."""

from __future__ import annotations

from hoist.deploy.cluster import Cluster, Manifest, confined, container_env
from hoist.deploy.pod_storage import PodStorage
from hoist.deploy.workload import Workload
from hoist.deploy.yaml_text import Document, Path
from hoist.errors import UsageError

NAME = "hoist"
# KServe appends what is to be fetched and the folder that it goes to.
PULL = 'exec hoist pull "${1#hoist://}" "$2" --quiet'


def storage_container(workload: Workload, cluster: Cluster, storage: PodStorage) -> Manifest:
    """The object, which is the cluster's, not a namespace's. Raises UsageError where the models lie in no bucket."""
    source = workload.source
    if not source.is_bucket:
        raise UsageError(
            "KServe's storage containers have no volumes of their own: they pull from a bucket (s3://, oss://, gs://, az://)"
        )
    # Services of a namespace that nobody named are not found from the others.
    env = {name: value for name, value in storage.env.items() if name != "HOIST_CACHE"}
    if not cluster.namespace and not source.config.accelerator:
        env = {name: value for name, value in env.items() if not name.endswith("_ACCELERATOR")}
    data = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterStorageContainer",
        "metadata": {"name": NAME},
        "spec": {
            "container": {
                "name": "storage-initializer",
                "image": cluster.hoist_image or workload.image,
                "command": ["sh", "-c", PULL, "hoist-pull"],
                **container_env(env, cluster),
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
                "securityContext": confined(),
            },
            "supportedUriFormats": [{"prefix": "hoist://"}],
            "workloadType": "initContainer",
        },
    }
    notes: dict[Path, str] = {
        ("spec", "container", "name"): "KServe knows it by this name.",
        ("spec", "container", "command"): "KServe appends the URI and the folder.",
    }
    if cluster.secret:
        notes[("spec", "container", "envFrom")] = "Of the namespace in which the InferenceService is."
    title = f"KServe pulls storageUri: hoist://{workload.models[0].location(source.name)} by Hoist."
    return Manifest("kserve.yaml", Document(data, title, notes))
