"""A Ray Serve config (`serve deploy FILE`) for `hoist.integrations.ray_serve`: many models, replicas as load asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hoist.deploy.secrets import refuse_secrets
from hoist.deploy.source import merged
from hoist.deploy.workload import Workload
from hoist.deploy.yaml_text import Document, Path
from hoist.errors import UsageError

_EVERYWHERE = "0.0.0.0"  # noqa: S104 Serve's proxies are asked from outside
APPLICATION = "hoist.integrations.ray_serve:application"


@dataclass(frozen=True, slots=True)
class Serving:
    """Replicas as they scale; `gpus` of each. `nas_folder`: where the nodes have the storage mounted."""

    least: int = 1
    most: int = 4
    ongoing: float = 2.0
    gpus: float = 1
    route: str = "/"
    nas_folder: str | None = None
    cache: str | None = "/var/cache/hoist"
    models_per_replica: int = 3


def serve_config(workload: Workload, serving: Serving, known_secrets: Sequence[str] = ()) -> Document:
    """The document. Raises UsageError for limits that mean nothing, and what holds a secret."""
    if not 0 <= serving.least <= serving.most or serving.most < 1:
        raise UsageError(
            f"--min {serving.least} and --max {serving.most}: from 0 up, and the first is not above the second"
        )
    if serving.gpus < 0 or serving.ongoing <= 0:
        raise UsageError("--gpus is 0 or more, --ongoing above 0")
    if not serving.route.startswith("/"):
        raise UsageError(f"--route {serving.route!r} begins with /")
    address, env = _storage(workload, serving)
    env = merged(env, workload.env)
    runtime: dict[str, Any] = {"runtime_env": {"env_vars": env}} if env else {}
    application: dict[str, Any] = {
        "name": workload.name,
        "route_prefix": serving.route,
        "import_path": APPLICATION,
        **runtime,
        "args": _args(workload, serving, address),
    }
    data = {
        "proxy_location": "EveryNode",
        "http_options": {"host": _EVERYWHERE, "port": 8000},
        "applications": [application],
    }
    refuse_secrets(data, known_secrets)
    base: Path = ("applications", 0)
    notes: dict[Path, str] = {
        (
            *base,
            "args",
        ): "Of hoist.integrations.ray_serve; a request names its model in the header serve_multiplexed_model_id.",
        (
            *base,
            "args",
            "models_per_replica",
        ): "How many models Ray knows a replica for; what is in memory goes by bytes.",
    }
    if env:
        notes[(*base, "runtime_env")] = (
            "How nodes reach the storage. No credentials are here: each node has its own, as it has Hoist and the handler."
        )
    title = "Models behind Ray Serve. Written by hoist deploy ray; deploy it with: serve deploy FILE"
    return Document(data, title, notes)


def _storage(workload: Workload, serving: Serving) -> tuple[str, dict[str, str]]:
    """The storage as the nodes call it, and the variables that they need."""
    source = workload.source
    if source.is_bucket:
        return source.name, source.variables() | ({"HOIST_CACHE": serving.cache} if serving.cache else {})
    if serving.nas_folder:
        return serving.nas_folder, {}
    if source.kind == "image" and source.scheme == "file":
        return source.config.url, {}
    if source.scheme == "file":
        return source.config.url.removeprefix("file://"), {}
    if source.scheme in ("nfs", "oci"):
        return source.name, source.variables() | ({"HOIST_CACHE": serving.cache} if serving.cache else {})
    raise UsageError(
        f"the nodes do not see {source.scheme}:// of this machine: give --nas-folder, where they have the storage"
    )


def _args(workload: Workload, serving: Serving, address: str) -> dict[str, Any]:
    models = {}
    for model in workload.models:
        name = model.name or model.reference.name.rpartition("/")[2]
        if name in models:
            raise UsageError(f"two models are called {name!r}: write NAME=LOCATION for one of them")
        models[name] = model.location(address)
    memory = {"host_memory": workload.host_memory, "device_memory": workload.device_memory}
    return {
        "handler": workload.handler,
        "models": models,
        "device": "cuda" if workload.gpu else "cpu",
        "num_gpus": serving.gpus if workload.gpu else 0,
        **{name: value for name, value in memory.items() if value},
        "models_per_replica": serving.models_per_replica,
        "min_replicas": serving.least,
        "max_replicas": serving.most,
        "target_ongoing_requests": serving.ongoing,
    }
