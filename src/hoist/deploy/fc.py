"""An `s.yaml` (Serverless Devs, Function Compute 3.0, component fc3) for a function whose models lie in a storage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hoist.deploy.fc_limits import COMPONENT, Limits
from hoist.deploy.fc_rules import check
from hoist.deploy.fc_schedule import Schedule, provision
from hoist.deploy.fc_storage import Network, storage_props
from hoist.deploy.secrets import refuse_secrets
from hoist.deploy.source import Source, merged
from hoist.deploy.workload import PORT, Workload
from hoist.deploy.yaml_text import Document, Path
from hoist.errors import UsageError

# Series -> gpuType, and the memory of a whole card in MB. Source: devsapp/fc3, src/schema.json; FC, instance types.
GPUS: Mapping[str, tuple[str, int]] = {
    "tesla": ("fc.gpu.tesla.1", 16384),
    "ampere": ("fc.gpu.ampere.1", 24576),
    "ada": ("fc.gpu.ada.1", 49152),
}
REQUEST_SECONDS = 600
_ALIYUN_REGION = re.compile(
    r"(?:s3\.)?oss-([a-z]+-[a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com|([a-z]+-[a-z0-9-]+?)-internal\.oss-data-acc\.aliyuncs\.com"
)


@dataclass(frozen=True, slots=True)
class FunctionCompute:
    """What is asked of Function Compute. Sizes in MB; `gpu` is a series of GPUS or None, `image_size` in bytes."""

    region: str
    network: Network
    gpu: str | None = "ada"
    gpu_memory: int | None = None
    cpu: float = 8
    memory: int = 32768
    disk: int = 10240
    schedule: Schedule = Schedule()  # noqa: RUF009 a frozen value
    access: str = "default"
    http: bool = True
    image_size: int | None = None


def region_of(source: Source, given: str | None) -> str:
    """The region: what is given, or the storage's. Raises UsageError."""
    found = _ALIYUN_REGION.search(source.config.endpoint or "")
    region = given or (source.config.region or "").removeprefix("oss-") or (found and (found[1] or found[2]))
    if not region or not re.fullmatch(r"[a-z]+-[a-z0-9-]+", region):
        raise UsageError("which region? Give --region, as cn-hangzhou; it is best the storage's own")
    return region


def s_yaml(
    workload: Workload, platform: FunctionCompute, limits: Limits, known_secrets: Sequence[str] = ()
) -> Document:
    """The document. Raises UsageError for what Function Compute would refuse, or what holds a secret."""
    props, notes = props_of(workload, platform, limits)
    for finding in check(props, "props", limits, platform.image_size):
        if finding.level != "note":
            raise UsageError(f"{finding.where.removeprefix('props.')}: {finding.text}")
    name = workload.name
    data = {
        "edition": "3.0.0",
        "name": name,
        "access": platform.access,
        "resources": {name: {"component": COMPONENT, "props": props}},
    }
    base: Path = ("resources", name, "props")
    titled = {
        ("access",): "The alias of credentials on the machine that deploys (s config add); none are in this file."
    }
    placed = {(*base, *path): text for path, text in notes.items()}
    refuse_secrets(data, known_secrets)
    title = f"A function with models in {_KINDS[workload.source.kind]}. Written by hoist deploy fc; deploy it with: s deploy"
    return Document(data, title, titled | placed)


_KINDS = {
    "image": "its image",
    "nas": "a NAS",
    "oss": "an OSS bucket",
    "accl": "a bucket behind an accelerator",
}


def props_of(workload: Workload, platform: FunctionCompute, limits: Limits) -> tuple[dict[str, Any], dict[Path, str]]:
    """The function's props, and comments by the field that they stand above. Raises UsageError."""
    placed = storage_props(workload.source, platform.network, platform.region)
    props: dict[str, Any] = {
        "region": platform.region,
        "functionName": workload.name,
        "runtime": "custom-container",
        "handler": "hoist",
        "cpu": platform.cpu,
        "memorySize": platform.memory,
        "diskSize": platform.disk,
        "timeout": REQUEST_SECONDS,
        "instanceConcurrency": workload.concurrency,
        "internetAccess": False,
    }
    notes: dict[Path, str] = {
        ("handler",): "Function Compute wants one; the image's own command answers.",
        ("internetAccess",): "The models come over the region's own network.",
    }
    if platform.gpu:
        props["gpuConfig"] = _gpu(platform.gpu, platform.gpu_memory)
        notes[("gpuConfig",)] = "Memory of the device in MB; other sizes: the table of GPU instance types."
    props["customContainerConfig"] = _container(workload, placed.address, limits)
    notes[("customContainerConfig", "healthCheckConfig")] = (
        f"hoist serve listens before it loads, so this answers at once; after {limits.port_check} s an instance is ended."
    )
    env = merged(placed.env, workload.env)
    if env:
        props["environmentVariables"] = env
    if placed.env:
        notes[("environmentVariables",)] = "How Hoist reaches the bucket; its rights are the role's, no key is needed."
    props |= placed.props
    notes |= placed.notes
    props["instanceLifecycleConfig"] = {
        "initializer": {"handler": "initialize", "timeout": limits.initializer},
        "preStop": {"handler": "pre-stop", "timeout": limits.pre_stop},
    }
    notes[("instanceLifecycleConfig",)] = (
        f"POST /initialize waits until the first model is on the device, {limits.initializer} s at most;\n"
        "GET /pre-stop finishes the requests that run. hoist serve answers both."
    )
    found, above = provision(platform.schedule)
    props |= found
    notes |= above
    if platform.http:
        trigger = {"authType": "function", "disableURLInternet": False, "methods": ["GET", "POST"]}
        props["triggers"] = [{"triggerName": "http", "triggerType": "http", "triggerConfig": trigger}]
        notes[("triggers",)] = "Requests are signed (authType function); POST /invoke asks the handler."
    return props, notes


def _gpu(series: str, memory: int | None) -> dict[str, Any]:
    if series not in GPUS:
        raise UsageError(f"--gpu {series!r} is none of {', '.join(GPUS)}, none")
    kind, whole = GPUS[series]
    return {"gpuType": kind, "gpuMemorySize": memory or whole}


def _container(workload: Workload, storage: str, limits: Limits) -> dict[str, Any]:
    return {
        "image": workload.image,
        "entrypoint": ["hoist"],
        "command": workload.serve(storage),
        "port": PORT,
        "healthCheckConfig": health_check(limits),
    }


def health_check(limits: Limits) -> dict[str, Any]:
    """Of `hoist serve`: asked each second, as often as the platform waits for the port."""
    return {
        "httpGetUrl": "/healthz",
        "initialDelaySeconds": 0,
        "periodSeconds": 1,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": limits.port_check,
    }
