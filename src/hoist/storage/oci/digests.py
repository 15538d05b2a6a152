"""Digests of OCI content: `sha256:HEX` and `sha512:HEX`."""

from __future__ import annotations

import hashlib
import re

from hoist.errors import Damaged

NO_DIGEST = "sha256:" + 64 * "0"
"""What no content has."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def is_digest(text: str) -> bool:
    """Whether this is a digest of a kind that can be checked here."""
    return DIGEST.fullmatch(text) is not None


def hasher(digest: str, what: str) -> hashlib._Hash:
    """The hash function that a digest is of. Raises Damaged for one that is none, as documents of others may hold."""
    if not is_digest(digest):
        raise Damaged(f"{what}: {digest[:100]!r} is no digest: sha256:HEX or sha512:HEX")
    return hashlib.new(digest.partition(":")[0])


def digest_like(digest: str, data: bytes, what: str) -> str:
    """The digest of `data` by the hash function that `digest` is of."""
    found = hasher(digest, what)
    found.update(data)
    return f"{digest.partition(':')[0]}:{found.hexdigest()}"
