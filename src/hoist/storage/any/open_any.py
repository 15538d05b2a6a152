"""Opens storages of kind `any`: several that are configured, as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hoist.config import StorageConfig
from hoist.errors import InvalidConfig
from hoist.storage.any.storage import AnyStorage
from hoist.storage.base import Storage

# A member that repeats its own requests for long would keep others from being asked.
_RETRY_SECONDS = 1.0


def open_storage(config: StorageConfig, kind: str, environ: Mapping[str, str]) -> Storage:
    """The members in their order; each is opened when it is first needed. Raises InvalidConfig."""
    if not config.members:
        raise InvalidConfig(
            f'storage {config.address!r}: write [storage.NAME] with kind = "any" and members = [...] into hoist.toml'
        )

    # Here, as that module names this one.
    from hoist.storage import open_storage as open_member

    def opener(member: StorageConfig) -> Callable[[], Storage]:
        quick = replace(member, retry_seconds=min(member.retry_seconds, _RETRY_SECONDS))
        return lambda: open_member(quick, environ)

    def writer() -> Storage:
        return open_member(config.members[0], environ)

    opened = AnyStorage(config.address, [(member.address, opener(member)) for member in config.members], writer)
    # Whoever reads from one of them asks for what it requires, as it may be the one that is read from.
    required = dict.fromkeys(member.require_signature for member in config.members if member.require_signature)
    opened.required_signers = tuple(required)
    return opened
