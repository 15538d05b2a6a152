"""The host cache and the mount: where blocks are kept and how much of them, and what the kernel lets a mount do."""

from __future__ import annotations

import gzip
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from hoist.checkup.report import Finding, Group
from hoist.config import Config
from hoist.errors import LocalError
from hoist.mount.device import HELPERS, file_system_of
from hoist.mount.live import LiveMounts
from hoist.read.cache.folder import check_folder
from hoist.read.cache.host import HostCache
from hoist.read.connect import host_cache
from hoist.storage.posix import on_local_disk

_GROUP = Group("host cache and mount")
_GIB = 1 << 30
_LITTLE_SPACE = _GIB
_DEVICE = Path("/dev/fuse")
_FUSE_CONF = Path("/etc/fuse.conf")
_PASSTHROUGH_SINCE = (6, 9)
_PASSTHROUGH_CONFIG = "CONFIG_FUSE_PASSTHROUGH"
_SYS_ADMIN = 21
_CONTAINER = "for a container: --device /dev/fuse --cap-add SYS_ADMIN"
_LIMIT_FROM = {
    "configuration": "configured",
    "folder": "by hoist cache limit",
    "disk": "half of what the disk has for it",
}


def check_caching(config: Config) -> Iterator[Finding]:
    """Look at the host cache and at what a mount needs; writes nothing."""
    cache = host_cache(config)
    yield _cache(config, cache)
    fuse = _fuse(config.environ)
    yield fuse
    yield _passthrough(cache, fuse)
    yield from _mounts(config)


def _cache(config: Config, cache: HostCache) -> Finding:
    name, folder = "host cache", cache.folder
    if config.cache.refused:
        mend = "to use it: HOIST_CACHE=on, or a table [cache] in hoist.toml without enabled = false"
        return _GROUP.missing(name, "switched off: nothing that was read is kept on this host", mend)
    there = _nearest(folder)
    try:
        if there == folder:
            check_folder(folder)
        elif not on_local_disk(there):
            raise LocalError(f"the host cache in {folder}: that is no local disk")
        if not os.access(there, os.W_OK | os.X_OK):
            raise LocalError(f"the host cache in {folder} cannot be written")
        usage = cache.usage()
    except LocalError as error:
        mend = "name a folder of your own on a local disk, or memory: HOIST_CACHE, or folder under [cache]"
        return _GROUP.warning(name, str(error), mend)
    free = shutil.disk_usage(there).free
    used = "loads, pulls and mounts" if config.cache.enabled else "mounts alone (loads and pulls: HOIST_CACHE=on)"
    detail = (
        f"{folder}, {usage.disk_bytes / _GIB:.1f} GiB of at most {usage.limit_bytes / _GIB:.1f} "
        f"({_LIMIT_FROM[usage.limit_source]}), {free / _GIB:.1f} GiB free on its disk; for {used}"
    )
    figures = {
        "held_bytes": float(usage.disk_bytes),
        "limit_bytes": float(usage.limit_bytes),
        "free_bytes": float(free),
    }
    if free < _LITTLE_SPACE and usage.limit_bytes - usage.disk_bytes > free:
        mend = "free space there, lower its limit (hoist cache limit), or name a folder on another disk (HOIST_CACHE)"
        return _GROUP.warning(name, f"{detail}: the disk is full before the limit is reached", mend, **figures)
    if usage.limit_bytes < _LITTLE_SPACE:
        mend = "raise it: hoist cache limit, or size under [cache]; or name a larger disk (HOIST_CACHE)"
        return _GROUP.warning(name, f"{detail}: few models fit", mend, **figures)
    return _GROUP.ok(name, detail, **figures)


def _fuse(environ: Mapping[str, str]) -> Finding:
    if not _DEVICE.exists():
        return _GROUP.missing("FUSE", f"there is no {_DEVICE}: no mounts", f"as root: modprobe fuse; {_CONTAINER}")
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return _GROUP.missing("FUSE", f"this user may not open {_DEVICE}: no mounts", f"as root: chmod 666 {_DEVICE}")
    if os.geteuid() == 0:
        if not _may_mount():
            return _GROUP.missing("FUSE", "root may not mount here", f"{_CONTAINER} (and apparmor must allow it)")
        return _GROUP.ok("FUSE", f"{_DEVICE}, mounted by root itself")
    folders = environ.get("PATH", "")
    helper = next((found for found in (shutil.which(each, path=folders) for each in HELPERS if folders) if found), None)
    if helper is None:
        mend = "apt-get install fuse3, or mount as root"
        return _GROUP.missing("FUSE", f"{_DEVICE} is there, fusermount3 is not: no mounts by this user", mend)
    detail = f"{_DEVICE}, mounted by {helper}"
    return _GROUP.ok(
        "FUSE", detail if _others_allowed() else f"{detail}; -o allow_other: user_allow_other in {_FUSE_CONF}"
    )


def _passthrough(cache: HostCache, fuse: Finding) -> Finding:
    """Whether the kernel reads whole cached files by itself."""
    name, instead = "passthrough", "whole cached files are read by the mount's process"
    if fuse.status != "ok":
        return _GROUP.missing(name, "nothing can be mounted", "see FUSE")
    release = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    if release < _PASSTHROUGH_SINCE:
        return _GROUP.missing(name, f"Linux {platform.release()}: {instead}", "run on Linux 6.9 or newer")
    if _configured() is False:
        return _GROUP.missing(
            name, f"this kernel was built without: {instead}", f"a kernel with {_PASSTHROUGH_CONFIG}=y"
        )
    if os.geteuid() != 0:
        return _GROUP.missing(name, f"only root may: {instead}", "mount as root, with -o allow_other for others")
    kind = file_system_of(cache.folder) or "unknown"
    if kind.startswith("fuse"):
        mend = "name a folder for the cache on ext4, xfs, btrfs or tmpfs (HOIST_CACHE)"
        return _GROUP.missing(name, f"the cache lies on {kind}: {instead}", mend)
    return _GROUP.ok(name, f"whole cached files are read by the kernel itself, on {kind}")


def _mounts(config: Config) -> Iterator[Finding]:
    live = LiveMounts(config.runtime_folder).all()
    dead = [mount.point for mount in live if not mount.serving]
    if dead:
        mend = "hoist mount there again takes it over; hoist umount frees it"
        yield _GROUP.warning("mounts", f"dead, their process was killed: {', '.join(dead)}", mend, mounts=len(live))
    elif live:
        points = ", ".join(mount.point or "(given descriptor)" for mount in live)
        yield _GROUP.ok("mounts", f"served: {points}", mounts=len(live))


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _may_mount() -> bool:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _SYS_ADMIN & 1)
    return True


def _others_allowed() -> bool:
    with suppress(OSError):
        return any(line.strip() == "user_allow_other" for line in _FUSE_CONF.read_text().splitlines())
    return False


def _configured() -> bool | None:
    """Whether the kernel was built with passthrough; None where it does not say."""
    with suppress(OSError, EOFError):
        return f"{_PASSTHROUGH_CONFIG}=y" in gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    with suppress(OSError):
        return f"{_PASSTHROUGH_CONFIG}=y" in Path(f"/boot/config-{platform.release()}").read_text()
    return None
