"""What an accelerator stands before: one bucket, below one prefix, at one server. Nothing else is ever asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hoist.config import StorageConfig
from hoist.errors import InvalidConfig
from hoist.storage import is_bucket

_NETLOC = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+)*")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """`netloc` is the Host that clients sign for; `path` is where the prefix begins, percent-encoded, ending in '/'."""

    address: str
    scheme: str
    netloc: str
    path: str
    ca_bundle: str | None = None

    @property
    def host(self) -> str:
        """The server's name, without a port, in lower case."""
        return (urlsplit(f"//{self.netloc}").hostname or "").lower()

    @property
    def port(self) -> int:
        """The port, said or by the scheme."""
        return urlsplit(f"//{self.netloc}").port or _PORTS[self.scheme]


def origin_of(config: StorageConfig, environ: Mapping[str, str]) -> Origin:
    """The origin that a storage of hoist.toml (or a URL) means. No credentials are read. Raises InvalidConfig."""
    if not is_bucket(config):
        raise InvalidConfig(
            f"storage {config.address!r}: an accelerator stands before an object store (s3://, oss://, gs://, az://)"
        )
    from hoist.storage.open_bucket import base_url

    return parse_origin(config.address, base_url(config, environ), config.ca_bundle)


def parse_origin(address: str, base: str, ca_bundle: str | None = None) -> Origin:
    """The origin at a URL. Raises InvalidConfig for one whose parts could mean something else to nginx."""
    parts = urlsplit(base)
    path = parts.path.rstrip("/")
    if parts.scheme not in _PORTS or not _NETLOC.fullmatch(parts.netloc) or not _PATH.fullmatch(path) or parts.query:
        where = base.rpartition("@")[2]
        raise InvalidConfig(f"storage {address!r}: no accelerator can stand before {where}: it wants a plain URL")
    return Origin(address, parts.scheme, parts.netloc, f"{path}/", ca_bundle)
