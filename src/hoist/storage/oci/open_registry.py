"""Opens oci:// addresses: which URL the registry has, and who we are there."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from hoist.config import Config, StorageConfig
from hoist.errors import InvalidConfig
from hoist.storage.oci.docker_config import DOCKER_HUB, find_login
from hoist.storage.oci.registry import Registry

_HUB_API = "registry-1.docker.io"


def open_registry(
    config: StorageConfig,
    environ: Mapping[str, str],
    uploads: Path | None = None,
    retry_seconds: float = 60.0,
) -> tuple[Registry, str]:
    """The registry of `oci://HOST[:PORT]/PATH`, and PATH: a prefix, or a repository with `:TAG` or `@DIGEST`.

    Opening sends nothing. `uploads` is the folder of this host's notes; by default that of the engine's configuration.
    Raises InvalidConfig.
    """
    parts = urlsplit(config.url)
    host, path = parts.netloc, parts.path.strip("/")
    if not host or "@" in host or parts.query or parts.fragment:
        raise InvalidConfig(
            f"storage {config.address!r}: write oci://HOST[:PORT]/PREFIX; logins come from docker login, podman login or "
            "skopeo login, not from the URL"
        )
    if config.ca_bundle and not Path(config.ca_bundle).is_file():
        raise InvalidConfig(f"storage {config.address!r}: ca_bundle {config.ca_bundle} is no file")
    login_path = path.partition("@")[0].partition(":")[0]
    registry = Registry(
        _base(config, host),
        host,
        config.address,
        login=lambda: None if config.anonymous else find_login(host, login_path, environ),
        ca_bundle=config.ca_bundle,
        uploads=uploads or Config(environ=environ).cache_folder / "uploads",
        retry_seconds=retry_seconds,
    )
    return registry, path


def _base(config: StorageConfig, host: str) -> str:
    if config.endpoint:
        parts = urlsplit(config.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise InvalidConfig(
                f"storage {config.address!r}: endpoint must be http://HOST[:PORT] or https://HOST[:PORT] of the registry"
            )
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    try:
        name = urlsplit(f"//{host}").hostname or ""
        _ = urlsplit(f"//{host}").port
    except ValueError:
        raise InvalidConfig(f"storage {config.address!r}: {host!r} is no HOST[:PORT]") from None
    if host == DOCKER_HUB:
        return f"https://{_HUB_API}"
    return f"{'http' if _is_this_machine(name) else 'https'}://{host}"


def _is_this_machine(name: str) -> bool:
    """Whether a host is the loopback: as for docker, a registry there needs no TLS."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
