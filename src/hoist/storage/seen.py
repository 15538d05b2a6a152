"""By what a version is known again, in a listing of all of them: without a request for each, where that can be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoist.errors import Damaged, VersionNotFound
from hoist.model.manifest import digest_of
from hoist.parallel import for_each

if TYPE_CHECKING:
    from hoist.storage.base import Storage, Version

_AT_ONCE = 16
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a version: when it was published (seconds since the epoch, by the storage's clock; 0: not known), and
    its manifest's SHA-256 (`digest`, the version's identity) and MD5, each empty where it was not told, and by whom it is
    signed there (None: not told)."""

    published: float = 0.0
    digest: str = ""
    md5: str = ""
    signers: frozenset[str] | None = None

    def same(self, other: Seen) -> bool | None:
        """Whether both are one content; None where only the manifests can tell."""
        if self.digest and other.digest:
            return self.digest == other.digest
        # Two MD5s that differ may be something else than MD5s: stores that encrypt put other tags in their place.
        return True if self.md5 and self.md5 == other.md5 else None

    def lacks_signatures(self, other: Seen) -> bool:
        """Whether the other one is known to be signed by somebody by whom this one is known not to be."""
        return self.signers is not None and other.signers is not None and not other.signers <= self.signers


def md5_of(data: bytes) -> str:
    """The MD5 of a manifest, in hexadecimal digits."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5_of_tag(etag: str | None) -> str:
    """The MD5 that an object's ETag is, as S3 has it for what was written in one piece; empty for any other."""
    found = _MD5.fullmatch(etag or "")
    return found[1] if found else ""


def read_seen(storage: Storage, versions: Iterable[tuple[Version, float]]) -> dict[Version, Seen]:
    """The same of versions, each with when it was published, by reading their manifests, several at once.

    What is not there is left out. Raises what a storage may.
    """

    def read(pair: tuple[Version, float]) -> tuple[Version, Seen] | None:
        version, published = pair
        try:
            data = storage.read_manifest(version)
        except VersionNotFound:
            return None
        except Damaged:
            return version, Seen(published)
        return version, Seen(published, digest_of(data), md5_of(data))

    wanted = list(versions)
    return dict(filter(None, for_each(read, wanted, _AT_ONCE))) if wanted else {}
