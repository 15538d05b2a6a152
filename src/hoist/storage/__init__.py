"""Where versions live, one file a kind. A kind's code is imported when a storage of it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module

from hoist.config import StorageConfig
from hoist.errors import InvalidConfig
from hoist.formatting import without_login
from hoist.storage.base import Storage

# URL scheme -> the module that opens it (its function `open_storage(config, environ)`), and its usual kind.
SCHEMES: Mapping[str, tuple[str, str]] = {
    "file": ("hoist.storage.open_directory", "nas"),
    "memory": ("hoist.storage.open_memory", "nas"),
    "nfs": ("hoist.storage.nfs.open_nfs", "nas"),
    "s3": ("hoist.storage.open_bucket", "oss"),
    "oss": ("hoist.storage.open_bucket", "oss"),
    "gs": ("hoist.storage.open_bucket", "oss"),
    "az": ("hoist.storage.open_bucket", "oss"),
    "oci": ("hoist.storage.image.open_image", "image"),
    "oci-layout": ("hoist.storage.image.open_image", "image"),
    "oci-archive": ("hoist.storage.image.open_image", "image"),
    "any": ("hoist.storage.any.open_any", "any"),
}


def kind_of(config: StorageConfig) -> str:
    """The kind that a storage is: as it is configured, or by its URL; empty for a URL that no storage speaks."""
    return config.kind or ("accl" if config.accelerator else SCHEMES.get(config.scheme, ("", ""))[1])


def is_bucket(config: StorageConfig) -> bool:
    """Whether a storage is in an object store, by its URL."""
    return SCHEMES.get(config.scheme, ("", ""))[0] == "hoist.storage.open_bucket"


def open_storage(config: StorageConfig, environ: Mapping[str, str]) -> Storage:
    """Open the storage that `config` describes. Opening sends nothing: a wrong bucket shows at its first use.

    Raises InvalidConfig, LocalError.
    """
    # No storage takes a login from its URL; what refuses one shall not tell it.
    config = replace(config, address=without_login(config.address))
    if config.scheme not in SCHEMES:
        raise InvalidConfig(
            f"storage {config.address!r}: no storage speaks {config.scheme}://; there are a path, "
            + ", ".join(f"{known}://" for known in SCHEMES if known != "any")
        )
    module, _ = SCHEMES[config.scheme]
    if not is_bucket(config) and (config.accelerator or config.kind == "accl"):
        raise InvalidConfig(f"storage {config.address!r}: only an object store can stand behind an accelerator")
    opened = import_module(module).open_storage(config, kind_of(config), environ)
    assert isinstance(opened, Storage)
    if config.require_signature:
        opened.required_signers = (*opened.required_signers, config.require_signature)
    return opened
