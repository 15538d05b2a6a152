"""Where versions live, one file a kind. A kind's code is imported when a storage of it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from hoist.config import StorageConfig
from hoist.errors import InvalidConfig, StorageUnsupported
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
}
# Kinds and schemes of the plan that this release does not have.
_LATER = {"accl": "accelerators"}


def open_storage(config: StorageConfig, environ: Mapping[str, str]) -> Storage:
    """Open the storage that `config` describes. Opening sends nothing: a wrong bucket shows at its first use.

    Raises InvalidConfig, StorageUnsupported, LocalError.
    """
    scheme = config.url.partition("://")[0] if "://" in config.url else "file"
    for later in (scheme, config.kind or ""):
        if later in _LATER:
            raise StorageUnsupported(f"storage {config.address!r}: this release has no {_LATER[later]} yet")
    if scheme not in SCHEMES:
        raise InvalidConfig(
            f"storage {config.address!r}: no storage speaks {scheme}://; there are a path, "
            + ", ".join(f"{known}://" for known in SCHEMES)
        )
    module, kind = SCHEMES[scheme]
    opened = import_module(module).open_storage(config, config.kind or kind, environ)
    assert isinstance(opened, Storage)
    return opened
