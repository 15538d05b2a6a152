"""What a version says of itself: bytes, files, and how much its versions share. Reads a manifest and block tables only."""

from __future__ import annotations

from typing import Any

from hoist.config import Config
from hoist.errors import UsageError


def model_fields(location: str, config: Config | None = None) -> dict[str, Any]:
    """`size`, `files` and, where the storage has other versions of that model, `shared`: the part of it that the one most
    like it has too. Raises InvalidReference, UsageError, NotFound, and what a storage may."""
    from hoist.read.listing import sharing
    from hoist.verbs import open as open_version

    with open_version(location, config=config) as opened:
        manifest = opened.manifest
        if not manifest.size:
            raise UsageError(f"{location} has no bytes: there is nothing to load")
        found = {"size": manifest.size, "files": len(manifest.files)}
        # Only this model's own versions: what another one shares is nothing that an update brings.
        own = [each.shared_bytes for each in sharing(opened, opened.version.name)]
        return {**found, "shared": min(1.0, max(own) / manifest.size)} if own else found
