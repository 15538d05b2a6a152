"""How a pod reaches the models: an image volume, an NFS volume, or a cache that Hoist fills from a bucket."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hoist.deploy.cluster import Cluster, confined, container_env
from hoist.deploy.secrets import hide_user
from hoist.deploy.source import Model, Source, merged
from hoist.errors import UsageError

MODELS, IMAGE = "/mnt/models", "/mnt/image"
_CACHE_MOUNT = "/var/cache/hoist"
_NFS = re.compile(r"(?P<server>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>/\S*)")


@dataclass(frozen=True, slots=True)
class PodStorage:
    """`address`: the storage as it is called in the pod. `about` says what the volume is."""

    address: str
    about: str = ""
    env: dict[str, str] = field(default_factory=dict)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_cache(self) -> bool:
        """Whether it must be filled."""
        return "HOIST_CACHE" in self.env


def pod_storage(
    source: Source, models: Sequence[Model], cluster: Cluster, accelerators: Sequence[str] = ()
) -> PodStorage:
    """What a pod is given. Raises UsageError for what nobody said, with the option that says it."""
    if source.kind == "image":
        return _image(source, models, cluster)
    if source.kind == "nas":
        return _nfs(source, cluster)
    return _cached(source, cluster, accelerators)


def _image(source: Source, models: Sequence[Model], cluster: Cluster) -> PodStorage:
    reference = cluster.model_image or _model_image(source, models)
    if not reference:
        return PodStorage("/models", "The models lie in the function's own image, under /models (hoist image build).")
    volume = {"name": "models", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}
    about = (
        "The models' image as a volume (Kubernetes 1.31 with the gate ImageVolume, on by default from 1.33):\n"
        "a new version is another image here, and the function's own stays as it is."
    )
    mount = {"name": "models", "mountPath": IMAGE, "readOnly": True}
    return PodStorage(f"{IMAGE}/models", about, {}, [volume], [mount])


def _model_image(source: Source, models: Sequence[Model]) -> str | None:
    """In a registry each version is an image."""
    if source.scheme != "oci":
        return None
    if len(models) > 1:
        raise UsageError(
            "several models in a registry are several images: hoist image build makes one of them for --model-image"
        )
    parts = urlsplit(source.config.url)
    reference = models[0].reference
    label = f"@{reference.digest}" if reference.digest else f":{reference.label}"
    path = parts.path.strip("/")
    if ":" in path or "@" in path:
        return f"{parts.netloc}/{path}"
    return "/".join(filter(None, (parts.netloc, path, reference.name))) + label


def _nfs(source: Source, cluster: Cluster) -> PodStorage:
    server = cluster.nas_server
    if not server and source.scheme == "nfs":
        parts = urlsplit(source.config.url)
        server = f"{parts.hostname}:{parts.path or '/'}"
    found = _NFS.fullmatch(server or "")
    if not found:
        raise UsageError(
            "which NFS server? Give --nas-server SERVER:/FOLDER, the folder of the storage"
            + (f", not {hide_user(server)!r}" if server else "")
        )
    volume = {"name": "models", "nfs": {"server": found["server"], "path": found["path"], "readOnly": True}}
    about = (
        "The folder is the storage: NAME/VERSION/FILE lie below it. The node mounts it, so pods share its page cache."
    )
    return PodStorage(MODELS, about, {}, [volume], [{"name": "models", "mountPath": MODELS, "readOnly": True}])


def _cached(source: Source, cluster: Cluster, accelerators: Sequence[str]) -> PodStorage:
    if source.kind == "accl" and not accelerators and not source.config.accelerator and not source.config.endpoint:
        raise UsageError(
            "which accelerator? Give --accelerators N to run some here, or accelerator = of the storage in hoist.toml"
        )
    more = {"accelerator": ",".join(accelerators), "kind": None} if accelerators else {}
    # Kubernetes lets everybody write to an emptyDir, and such a folder no cache trusts: so one below it is Hoist's own.
    folder = _CACHE_MOUNT if cluster.cache == "host" else f"{_CACHE_MOUNT}/blocks"
    env = merged(source.variables(**more), {"HOIST_CACHE": folder})
    volume: dict[str, Any] = {"name": "cache"}
    if cluster.cache == "host":
        volume["hostPath"] = {"path": cluster.cache_folder, "type": "DirectoryOrCreate"}
        about = (
            "Verified blocks, one copy for all pods of the node: each is fetched once, pods that come later find it."
        )
    else:
        medium = {"medium": "Memory"} if cluster.cache == "memory" else {}
        volume["emptyDir"] = medium | {"sizeLimit": cluster.cache_size}
        about = f"Verified blocks, in the {'memory' if medium else 'disk'} of this pod: they go with it."
    return PodStorage(source.name, about, env, [volume], [{"name": "cache", "mountPath": _CACHE_MOUNT}])


def fillers(
    models: Sequence[Model], storage: PodStorage, image: str, cluster: Cluster, *, beside: bool
) -> list[dict[str, Any]]:
    """Init containers that fill the cache; `beside`: one that goes on beside the function, which starts at once."""
    locations = [model.location(storage.address) for model in models]
    common: dict[str, Any] = {"image": image}
    tail = {
        **container_env(storage.env, cluster),
        "securityContext": confined(),
        "volumeMounts": storage.mounts,
    }
    if not beside:
        return [
            {"name": f"fill-{at}", **common, "command": ["hoist", "warm", location], **tail}
            for at, location in enumerate(locations, 1)
        ]
    script = 'for each in "$@"; do hoist warm "$each" || exit; done; exec sleep infinity'
    command = ["sh", "-c", script, "fill", *locations]
    return [{"name": "fill", **common, "restartPolicy": "Always", "command": command, **tail}]
