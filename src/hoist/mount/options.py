"""What a mount is asked to be: the command line's options, and `-o` as users of mount(8) write it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hoist.config import parse_size
from hoist.errors import InvalidConfig, UsageError

# What fstab and mount(8) say to others than the file system, or what holds here anyway.
# fmt: off
_IGNORED = frozenset((
    "ro", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "nodev",
    "nosuid", "noexec", "exec", "noatime", "relatime", "norelatime", "strictatime", "nodiratime", "async", "sync",
    "lazytime", "nolazytime", "silent", "loud", "mand", "nomand", "nonempty", "default_permissions", "kernel_cache",
    "auto_cache", "splice_read", "splice_write",
))
# fmt: on
_IGNORED_PREFIXES = ("x-", "comment=", "context=", "fsname=", "subtype=", "max_read=", "retry=")
_NUMBER = re.compile(r"[0-9]{1,10}")
# Permissions only: no sticky or set-id bits.
_OCTAL = re.compile(r"(0o)?0*[0-7]{1,3}")
MEMORY_BYTES = 256 << 20
LEAST_MEMORY = 32 << 20


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How a mount behaves; sizes in bytes, times in seconds.

    `memory_bytes`: of blocks held by the daemon. `refresh_seconds`: life of listings and tags. `timeout_seconds`: after
    which a read that the storage does not answer fails. `cache`: whether the host cache is used, None as configured;
    `cache_bytes`: its limit, None as it is.
    """

    allow_other: bool = False
    uid: int | None = None
    gid: int | None = None
    umask: int = 0
    threads: int = 4
    memory_bytes: int = MEMORY_BYTES
    cache: bool | None = None
    cache_bytes: int | None = None
    prefetch: bool = True
    passthrough: bool = True
    refresh_seconds: float = 10.0
    timeout_seconds: float = 30.0
    read_ahead_bytes: int = 4 << 20
    log_file: Path | None = None
    syslog: bool = False
    metrics_port: int | None = None

    @property
    def folder_mode(self) -> int:
        """Permissions of folders."""
        return 0o555 & ~self.umask

    @property
    def file_mode(self) -> int:
        """Permissions of files."""
        return 0o444 & ~self.umask


def check(options: MountOptions) -> MountOptions:
    """The options if they make sense. Raises UsageError."""
    if not 1 <= options.threads <= 64:
        raise UsageError(f"threads are 1 to 64, not {options.threads}")
    if options.memory_bytes < LEAST_MEMORY:
        raise UsageError("memory is at least 32MiB")
    if not 0 <= options.refresh_seconds <= 86400 or not 0.1 <= options.timeout_seconds <= 3600:
        raise UsageError("refresh is 0 to 86400 seconds, timeout 0.1 to 3600")
    if options.metrics_port is not None and not 0 <= options.metrics_port <= 65535:
        raise UsageError(f"there is no port {options.metrics_port}")
    return options


def parse_mount_options(texts: Iterable[str], base: MountOptions | None = None) -> MountOptions:
    """`base` with what `-o a,b=c` says. Raises UsageError, naming what is not known."""
    found = base or MountOptions()
    for word in (word.strip() for text in texts for word in text.split(",")):
        if word and word not in _IGNORED and not word.startswith(_IGNORED_PREFIXES):
            found = _apply(found, word)
    return check(found)


def _apply(base: MountOptions, word: str) -> MountOptions:
    name, equals, value = word.partition("=")
    name = name.replace("-", "_")
    if name == "rw":
        raise UsageError("versions are immutable, so a mount of them is read-only: leave out -o rw")
    try:
        if name in _FLAGS and not equals:
            return replace(base, **_FLAGS[name])
        if name in _VALUES and equals:
            field, read = _VALUES[name]
            return replace(base, **{field: read(value)})
    except (ValueError, InvalidConfig) as error:
        raise UsageError(f"-o {word}: {error}") from None
    known = ", ".join([*_FLAGS, *(f"{each}=" for each in _VALUES)])
    raise UsageError(f"-o {word}: there is no such option; there are {known}, and the usual ones of mount(8)")


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def _octal(text: str) -> int:
    if not _OCTAL.fullmatch(text):
        raise ValueError(f"{text!r} is no umask: write it in octal, as 022")
    return int(text, 8)


def _seconds(text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds") from None


def _on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(f"{text!r} is neither on nor off")
    return text == "on"


_FLAGS: dict[str, dict[str, Any]] = {
    "allow_other": {"allow_other": True},
    "syslog": {"syslog": True},
    "no_cache": {"cache": False},
    "no_prefetch": {"prefetch": False},
    "no_passthrough": {"passthrough": False},
}
_VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "uid": ("uid", _number),
    "gid": ("gid", _number),
    "umask": ("umask", _octal),
    "threads": ("threads", _number),
    "memory": ("memory_bytes", parse_size),
    "cache": ("cache", _on_off),
    "cache_size": ("cache_bytes", parse_size),
    "refresh": ("refresh_seconds", _seconds),
    "timeout": ("timeout_seconds", _seconds),
    "read_ahead": ("read_ahead_bytes", parse_size),
    "log_file": ("log_file", Path),
    "metrics": ("metrics_port", _number),
}
