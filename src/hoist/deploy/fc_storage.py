"""How a function of Function Compute reaches a storage: mounts, network, role, variables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hoist.deploy.secrets import hide_user
from hoist.deploy.source import Source
from hoist.deploy.yaml_text import Path
from hoist.errors import UsageError

IMAGE_FOLDER = "/models"
"""Where `hoist image` puts models."""
_NAS_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*:/[^\s]*")


@dataclass(frozen=True, slots=True)
class Network:
    """What a function is given to reach its storage with. `mount`: a bucket is mounted too, for programs that read files."""

    vpc: str | None = None
    vswitches: Sequence[str] = ()
    security_group: str | None = None
    role: str | None = None
    nas_server: str | None = None
    mount_dir: str = "/mnt/models"
    mount: bool = True
    accelerator_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """`address`: the storage as it is called in the function; and the props, variables and comments that make it one."""

    address: str
    props: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    notes: dict[Path, str] = field(default_factory=dict)


def storage_props(source: Source, network: Network, region: str) -> Placed:
    """What a storage needs of a function. Raises UsageError for what nobody said, with the option that says it."""
    role = {"role": network.role} if network.role else {}
    vpc = _vpc(network)
    if source.kind == "image":
        return Placed(IMAGE_FOLDER, role | vpc)
    if source.kind == "nas":
        return _nas(source, network, role, vpc)
    return _bucket(source, network, region, role, vpc)


def _vpc(network: Network) -> dict[str, Any]:
    given = (network.vpc, network.vswitches, network.security_group)
    if not any(given):
        return {}
    if network.vpc == "auto":
        return {"vpcConfig": "auto"}
    if not all(given):
        raise UsageError("a VPC is named by all of --vpc, --vswitch and --security-group")
    config = {"vpcId": network.vpc, "vSwitchIds": list(network.vswitches), "securityGroupId": network.security_group}
    return {"vpcConfig": config}


def _nas(source: Source, network: Network, role: dict[str, Any], vpc: dict[str, Any]) -> Placed:
    server = network.nas_server
    if not server and source.scheme == "nfs":
        parts = urlsplit(source.config.url)
        server = f"{parts.hostname}:{parts.path or '/'}"
    if not server:
        raise UsageError(
            "which NAS? Give --nas-server, as 0abc-xyz.cn-hangzhou.nas.aliyuncs.com:/models: the folder of the storage"
        )
    if not _NAS_SERVER.fullmatch(server):
        raise UsageError(
            f"--nas-server {hide_user(server)!r} is not SERVER:/FOLDER, as 0abc-xyz.cn-hangzhou.nas.aliyuncs.com:/models"
        )
    if not vpc:
        raise UsageError(
            "a NAS is reached through a VPC: give --vpc, --vswitch and --security-group of its mount target (or --vpc auto)"
        )
    point = {"serverAddr": server, "mountDir": network.mount_dir, "enableTLS": False}
    props = role | vpc | {"nasConfig": {"userId": 0, "groupId": 0, "mountPoints": [point]}}
    notes: dict[Path, str] = {
        ("vpcConfig",): "The VPC and zone of the NAS mount target; setting it up costs a cold start some seconds.",
        ("nasConfig",): "The folder is the storage: NAME/VERSION/FILE lie below it. All instances share its bandwidth.",
    }
    return Placed(network.mount_dir, props, {}, notes)


def _bucket(source: Source, network: Network, region: str, role: dict[str, Any], vpc: dict[str, Any]) -> Placed:
    if not network.role and not source.config.anonymous:
        raise UsageError(
            "a bucket is read with the rights of the function's role: give --role, as acs:ram::ACCOUNT:role/NAME"
        )
    aliyun = source.scheme == "oss" or "aliyuncs.com" in (source.config.endpoint or "")
    vendor = source.kind == "accl" and not source.config.accelerator
    if vendor and not aliyun:
        raise UsageError(
            "which accelerator? Give accelerator = of the storage in hoist.toml: where hoist accelerate runs"
        )
    endpoint = _endpoint(source, network, region, vendor=vendor) if aliyun else None
    env = source.variables(endpoint=endpoint, region=region) if endpoint else source.variables()
    props, notes = role | vpc, _role_notes(source, role, vpc)
    if not endpoint or not network.mount or not role:
        return Placed(source.name, props, env, notes)
    bucket, prefix = source.bucket
    point = {"bucketName": bucket, "bucketPath": f"/{prefix}", "endpoint": endpoint, "mountDir": network.mount_dir}
    props |= {"ossMountConfig": {"mountPoints": [point | {"readOnly": True}]}}
    notes[("ossMountConfig",)] = _BY_ACCELERATOR if vendor else _BESIDE
    if vendor:
        return Placed(network.mount_dir, props, {}, notes)
    return Placed(source.name, props, env, notes)


_BESIDE = (
    "For programs that read files: NAME/VERSION/FILE below it. Hoist itself reads the bucket, in parallel and verified, as\n"
    "a mount takes the instance's CPU and memory and keeps no page cache. --no-mount leaves this out."
)
_BY_ACCELERATOR = (
    "The bucket by its accelerator, which must be switched on for it: NAME/VERSION/FILE lie below the folder. Hoist reads\n"
    "them there, as not every accelerator speaks the S3 protocol; where it does, --no-mount has Hoist read it directly."
)


def _role_notes(source: Source, role: dict[str, Any], vpc: dict[str, Any]) -> dict[Path, str]:
    notes: dict[Path, str] = {}
    if role:
        bucket, prefix = source.bucket
        what = "/".join(filter(None, (bucket, prefix, "*")))
        notes[("role",)] = f"It needs oss:GetObject of {what} and oss:ListObjects of {bucket}."
    if vpc and source.config.accelerator:
        notes[("vpcConfig",)] = "Where hoist accelerate runs."
    return notes


def _endpoint(source: Source, network: Network, region: str, *, vendor: bool) -> str:
    """The internal endpoint of the region, or that of the accelerator."""
    if vendor:
        given = network.accelerator_endpoint
        host = given or _accelerator_host(source.config.endpoint) or f"{region}-internal.oss-data-acc.aliyuncs.com"
    else:
        host = f"oss-{region}-internal.aliyuncs.com"
    return host if "://" in host else f"https://{host}"


def _accelerator_host(endpoint: str | None) -> str | None:
    """An endpoint that is an accelerator's already."""
    host = (endpoint or "").rpartition("://")[2]
    return host if "oss-data-acc" in host or host.startswith("oss-cache") else None
