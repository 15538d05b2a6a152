"""What anybody may do with a registry: tried without a login."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hoist.audit.finding import Finding, Severity
from hoist.config import StorageConfig
from hoist.errors import HoistError
from hoist.storage.oci.open_registry import open_registry
from hoist.storage.oci.registry import Registry

_RETRY_SECONDS = 2.0


def check_registry(config: StorageConfig, environ: Mapping[str, str], repository: str) -> Iterator[Finding]:
    """What needs no login in a repository: reading it, pushing to it. An upload is begun and given up; nothing stays."""
    registry, _ = open_registry(replace(config, anonymous=True), environ, retry_seconds=_RETRY_SECONDS)
    mend = "have the registry ask for a login (docker-registry: auth in its configuration), or keep it behind one that does"
    try:
        if _reads(registry, repository):
            severity: Severity = "note" if config.anonymous else "error"
            detail = f"everybody who reaches it may pull, without a login: {repository}"
            yield Finding("unprotected", severity, config.address, config.url, detail, mend)
        if _pushes(registry, repository):
            detail = f"everybody who reaches it may push, without a login: {repository}"
            yield Finding("unprotected", "error", config.address, config.url, detail, mend)
    finally:
        registry.close()


def _reads(registry: Registry, repository: str) -> bool:
    try:
        return bool(registry.tags(repository))
    except HoistError:
        return False


def _pushes(registry: Registry, repository: str) -> bool:
    try:
        registry.try_push(repository)
    except HoistError:
        return False
    return True
