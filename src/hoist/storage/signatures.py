"""The signatures of versions in a tree of keys: one object for each signer, beside the version's documents."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from hoist.errors import Conflict, FileNotFound
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.signing.bundle import MOST_SIGNATURE_BYTES, parse_bundle
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.storage.objects import Objects

_MOST_SIGNATURES = 64


def find_signatures(objects: Objects, version: Version, hints: Collection[str]) -> Sequence[bytes]:
    """See Storage.signatures. One request for each hint; without hints one that lists, and one for each signature."""
    if hints:
        keys = [layout.signature_key(version, hint) for hint in hints]
    else:
        infos = [info for info in objects.list(layout.blob_key(version, "")) if layout.is_signature(info.key)]
        keys = [info.key for info in infos if info.size <= MOST_SIGNATURE_BYTES][:_MOST_SIGNATURES]

    def read(key: str) -> bytes | None:
        with suppress(FileNotFound):
            return objects.get(key).data
        return None

    # Nearly always it is one, of which a load is waiting: no thread is worth starting for it.
    found = for_each(read, keys, SMALL_AT_ONCE) if len(keys) > 1 else [read(key) for key in keys]
    return [data for data in found if data is not None]


def keep_signature(objects: Objects, version: Version, there: str, digest: str, data: bytes) -> None:
    """See Storage.add_signature; `there` is the digest of the version's manifest."""
    bundle = parse_bundle(data)
    check_digest(objects.address, version, there, digest)
    objects.put(layout.signature_key(version, bundle.signer), data)


def check_digest(address: str, version: Version, there: str, digest: str) -> None:
    """Raise Conflict unless the version is the one that was signed."""
    if there != digest:
        raise Conflict(f"{version} in {address} is {there}, and what was signed is {digest}: sign what is there")
