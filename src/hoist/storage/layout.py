"""Where things lie in a tree of keys: the same on a directory, in a bucket and inside an image. Pure.

NAME/LABEL/PATH                             the files, as published
.hoist/versions/NAME/LABEL/manifest.json    the manifest: with it the version exists
.hoist/versions/NAME/LABEL/sha256-HEX       its config and its block table
.hoist/versions/NAME/LABEL/packs-HEX        the pack index of the manifest of that digest; optional, as packs are
.hoist/versions/NAME/LABEL/pack-HEX         small files once more, one behind the other
.hoist/versions/NAME/LABEL/signature-HEX    a signature of the version, by the key whose PEM has this SHA-256
.hoist/tags/NAME/@TAG                       a tag, with its history
.hoist/claims/NAME/@LABEL                   a publish that has not finished
.hoist/files/HEX/NAME/@LABEL                says that this version holds a large file, or a pack, of this digest
.hoist/tmp/                                 a directory's own half-written files

No part of a name starts with '@': so the tag `sd15:any` does not stand where the folder of `sd15/any:latest` does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from hoist.model.manifest import FileEntry
from hoist.storage.base import Version
from hoist.storage.moves import TagMove, write_moves

_HIDDEN = ".hoist/"
VERSIONS = ".hoist/versions/"
TAGS = ".hoist/tags/"
CLAIMS = ".hoist/claims/"
FILES = ".hoist/files/"
TMP = ".hoist/tmp/"
_MANIFEST = "/manifest.json"
_INDEX, _PACK, _SIGNATURE = "packs-", "pack-", "signature-"
# A marker is a request of its own: smaller files are quicker sent again than looked up.
MARKED_FROM_BYTES = 1 << 20


def file_key(version: Version, path: str) -> str:
    """Where a file lies."""
    return f"{version.name}/{version.label}/{path}"


def manifest_key(version: Version) -> str:
    """Where a manifest lies."""
    return f"{VERSIONS}{version.name}/{version.label}{_MANIFEST}"


def blob_key(version: Version, digest: str) -> str:
    """Where a version's config or block table lies."""
    return f"{VERSIONS}{version.name}/{version.label}/{digest.replace(':', '-')}"


def packs_key(version: Version, manifest_digest: str) -> str:
    """Where the pack index of a version with this manifest lies."""
    return f"{VERSIONS}{version.name}/{version.label}/{_INDEX}{manifest_digest.removeprefix('sha256:')}"


def pack_key(version: Version, digest: str) -> str:
    """Where a version's pack lies."""
    return f"{VERSIONS}{version.name}/{version.label}/{_PACK}{digest.removeprefix('sha256:')}"


def signature_key(version: Version, signer: str) -> str:
    """Where a version's signature by this signer (64 hexadecimal digits) lies."""
    return f"{VERSIONS}{version.name}/{version.label}/{_SIGNATURE}{signer}"


def is_signature(key: str) -> bool:
    """Whether a version's signature lies at `key`."""
    return key.startswith(VERSIONS) and key.rpartition("/")[2].startswith(_SIGNATURE)


def pack_of(key: str) -> str | None:
    """The digest of the pack that lies at `key`, empty for a pack index; None if it is neither's key."""
    name = key.rpartition("/")[2]
    if version_of_document(key) is None or not name.startswith((_INDEX, _PACK)):
        return None
    return "" if name.startswith(_INDEX) else "sha256:" + name.removeprefix(_PACK)


def is_weight(key: str) -> bool:
    """Whether a file of a version, or a pack, lies at `key`: what is large and read by many."""
    return not key.startswith(_HIDDEN) or bool(pack_of(key))


def tag_key(name: str, tag: str) -> str:
    """Where a tag lies."""
    return f"{TAGS}{name}/@{tag}"


def tag_document(label: str, digest: str, moves: Sequence[TagMove] = ()) -> bytes:
    """What lies there: the label of the version that the tag means, the digest of its manifest, and how it came to that."""
    history = {"moves": write_moves(moves)} if moves else {}
    return json.dumps({"version": label, "digest": digest} | history, sort_keys=True).encode()


def claim_key(version: Version) -> str:
    """Where an unfinished publish says so."""
    return f"{CLAIMS}{version.name}/@{version.label}"


def is_marked(file: FileEntry) -> bool:
    """Whether a file is large enough to be looked up by its digest."""
    return file.size >= MARKED_FROM_BYTES


def markers(digest: str) -> str:
    """The prefix below which the holders of a file's digest are marked."""
    return f"{FILES}{digest.removeprefix('sha256:')}/"


def marker_key(digest: str, version: Version) -> str:
    """Where a version is marked as a holder of a file's digest."""
    return f"{markers(digest)}{version.name}/@{version.label}"


def version_of_manifest(key: str) -> Version | None:
    """The version whose manifest lies at `key`; None if it is no manifest's key."""
    if not key.startswith(VERSIONS) or not key.endswith(_MANIFEST):
        return None
    return _version(key[len(VERSIONS) : -len(_MANIFEST)], "/")


def version_of_document(key: str) -> Version | None:
    """The version whose config, block table, pack, pack index or signature lies at `key`; None if it is no such key."""
    folder, _, name = key.rpartition("/")
    if not folder.startswith(VERSIONS) or not name.startswith(("sha256-", _INDEX, _PACK, _SIGNATURE)):
        return None
    return _version(folder[len(VERSIONS) :], "/")


def version_of_tail(tail: str) -> Version | None:
    """Split `NAME/@LABEL`; None if it is not that."""
    return _version(tail, "/@")


def enclosing_versions(version: Version) -> list[Version]:
    """The versions inside whose folder this one's files would lie: none of them may exist beside it."""
    parts = version.name.split("/")
    return [Version("/".join(parts[:cut]), parts[cut]) for cut in range(1, len(parts))]


def _version(tail: str, between: str) -> Version | None:
    name, _, label = tail.rpartition(between)
    return Version(name, label) if name and label else None
