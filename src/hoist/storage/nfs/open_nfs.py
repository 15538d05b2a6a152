"""Opens an nfs:// URL: `nfs://SERVER[:PORT]/EXPORT/PATH[?uid=&gid=&rsize=&version=4]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from hoist.config import StorageConfig
from hoist.errors import InvalidConfig
from hoist.storage.base import Storage, Traits
from hoist.storage.nfs.contexts import Contexts
from hoist.storage.nfs.libnfs import load
from hoist.storage.nfs.objects import NfsObjects
from hoist.storage.nfs.place import READ_BYTES, Place
from hoist.storage.tree import TreeStorage

# See docs/performance.md: each connection keeps two reads of 512 KiB under way.
TRAITS = Traits(request_bytes=8 << 20, connections=4, most_connections=16)
_PORT = 2049
_NUMBERS = {"uid": (0, (1 << 32) - 2), "gid": (0, (1 << 32) - 2), "rsize": (4096, 1 << 20)}
_VERSIONS = ("4", "4.0")


def open_storage(config: StorageConfig, kind: str, environ: Mapping[str, str]) -> Storage:
    """The folder that the config's URL names. Nothing is sent yet. Raises InvalidConfig, LocalError without libnfs."""
    place = parse_place(config)
    load()
    return TreeStorage(NfsObjects(Contexts(place, config.address), config.address, TRAITS), kind)


def parse_place(config: StorageConfig) -> Place:
    """Server, port, path and options of an nfs:// URL. Raises InvalidConfig."""
    label = f"storage {config.address!r}"
    parts = urlsplit(config.url)
    try:
        port = parts.port or _PORT
    except ValueError:
        raise InvalidConfig(f"{label}: the port is none") from None
    path = "/" + unquote(parts.path, errors="surrogateescape").strip("/")
    if not parts.hostname or parts.username is not None or parts.fragment or path == "/" or "\0" in path:
        raise InvalidConfig(f"{label}: write nfs://SERVER/EXPORT/PATH: a server, and a folder below its root")
    if re.search(r"/\.{1,2}(/|$)", path):
        raise InvalidConfig(f"{label}: the path has a part '.' or '..'")
    numbers: dict[str, int] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "version" and value in _VERSIONS:
            continue
        if name == "version":
            raise InvalidConfig(f"{label}: version={value}: Hoist speaks NFS version 4 (4.0)")
        if name not in _NUMBERS:
            raise InvalidConfig(f"{label}: unknown option {name!r}; there are {', '.join(_NUMBERS)}, version")
        least, most = _NUMBERS[name]
        if not re.fullmatch(r"[0-9]{1,10}", value) or not least <= int(value) <= most:
            raise InvalidConfig(f"{label}: {name} is a number from {least} to {most}")
        numbers[name] = int(value)
    return Place(
        server=parts.hostname,
        port=port,
        path=path,
        uid=numbers.get("uid"),
        gid=numbers.get("gid"),
        read_bytes=numbers.get("rsize", READ_BYTES),
    )
