"""The rules of a function's NAS and OSS mounts: how many, where, and what they need besides."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from hoist.deploy.fc_limits import Limits
from hoist.deploy.findings import Finding

Props = MutableMapping[str, Any]
_PUBLIC = re.compile(
    r"(?P<scheme>https?://)?oss-(?P<region>[a-z]+-[a-z0-9-]+?)(?P<internal>-internal)?\.aliyuncs\.com/?"
)


def mounts(props: Props, where: str, limits: Limits) -> Iterator[Finding]:
    """Judge and mend all mounts."""
    for config, most in (("nasConfig", limits.nas_mounts), ("ossMountConfig", limits.oss_mounts)):
        count = len(points(props, config))
        if count > most:
            text = f"{count} mounts, and a function has {most} at most: mount a folder above several of them"
            yield Finding("wrong", f"{where}.{config}.mountPoints", text)
    yield from _folders(props, where)
    yield from _nas(props, where)
    yield from _oss(props, where)


def points(props: Mapping[str, Any], config: str) -> list[MutableMapping[str, Any]]:
    """The mount points of nasConfig or ossMountConfig."""
    found = props.get(config)
    listed = found.get("mountPoints") if isinstance(found, Mapping) else None
    return [each for each in listed if isinstance(each, MutableMapping)] if isinstance(listed, list) else []


def _folders(props: Props, where: str) -> Iterator[Finding]:
    """Folders must not be one, nor lie in one another."""
    taken: list[tuple[str, str]] = []
    for config in ("nasConfig", "ossMountConfig"):
        for at, point in enumerate(points(props, config)):
            folder, place = point.get("mountDir"), f"{where}.{config}.mountPoints[{at}].mountDir"
            if not isinstance(folder, str) or "${" in folder:
                continue
            clean = posixpath.normpath(folder)
            if not folder.startswith("/") or clean in ("/", "//"):
                yield Finding("wrong", place, f"{folder!r}: it is an absolute path below /, as /mnt/models")
                continue
            for other, other_place in taken:
                if _collide(clean, other):
                    text = f"{folder} collides with {other} of {other_place}: no mount lies at or below another one's folder"
                    yield Finding("wrong", place, text)
            taken.append((clean, f"{config}.mountPoints[{at}]"))


def _collide(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _nas(props: Props, where: str) -> Iterator[Finding]:
    if not points(props, "nasConfig"):
        return
    nas = props["nasConfig"]
    for name in ("userId", "groupId"):
        if name not in nas:
            nas[name] = 0
            yield Finding("corrected", f"{where}.nasConfig.{name}", "is needed; 0 is the user of most images")
    if not props.get("vpcConfig"):
        text = (
            "a NAS is reached through a VPC: write vpcConfig, that of its mount target (or give --vpc and its fellows)"
        )
        yield Finding("wrong", f"{where}.vpcConfig", text)


def _oss(props: Props, where: str) -> Iterator[Finding]:
    found = points(props, "ossMountConfig")
    for at, point in enumerate(found):
        endpoint = point.get("endpoint")
        match = _PUBLIC.fullmatch(endpoint) if isinstance(endpoint, str) else None
        if match and not match["internal"] and match["region"] == props.get("region"):
            point["endpoint"] = f"{match['scheme'] or 'https://'}oss-{match['region']}-internal.aliyuncs.com"
            text = f"{endpoint} is now {point['endpoint']}: within a region the internal one is faster and costs no traffic"
            yield Finding("corrected", f"{where}.ossMountConfig.mountPoints[{at}].endpoint", text)
    if found and not props.get("role"):
        yield Finding(
            "wrong",
            f"{where}.role",
            "a bucket is mounted with the rights of the function's role: give --role, or write one",
        )
