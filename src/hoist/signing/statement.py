"""What is signed: an in-toto statement of OpenSSF model-signing, about one version under its label. Pure.

Its resources are the version's files with the SHA-256s that the manifest has, so nothing is hashed again, and
`model_signing verify` takes the same signature for a folder that was pulled. Its subject is named `NAME:LABEL@DIGEST`: so
the label is signed too, and with the manifest's digest the table of blocks, by which Hoist verifies what it reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hoist.errors import Damaged
from hoist.model.manifest import FileEntry, Manifest

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What model-signing never signs unless it is told to; the manifest's digest covers it all the same."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it was signed: the name of its subject, and the SHA-256 of each file, in hexadecimal."""

    subject: str
    files: Mapping[str, str] = field(repr=False)


def subject_of(version: str, digest: str) -> str:
    """The name of what is signed; `version` is NAME:LABEL."""
    return f"{version}@{digest}"


def signed_files(manifest: Manifest) -> Iterator[FileEntry]:
    """The files that a statement names."""
    return (file for file in manifest.files if file.path.split("/")[0] not in IGNORED)


def serialization_of(manifest: Manifest) -> dict[str, Any]:
    """How model-signing is told to hash a folder, to find the same."""
    return {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": any(file.link for file in manifest.files),
        "ignore_paths": list(IGNORED),
    }


def statement_of(version: str, manifest: Manifest) -> Statement:
    """What a good signature of a version says."""
    files = {file.path: file.digest.removeprefix("sha256:") for file in signed_files(manifest)}
    return Statement(subject_of(version, manifest.digest), files)


def parse_statement(payload: bytes) -> Statement:
    """Read what was signed. Raises Damaged for anything but one statement about whole files, by their SHA-256s."""
    try:
        document = json.loads(payload)
        if (document["_type"], document["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise Damaged("it signs something else than a model")
        (subject,) = document["subject"]
        predicate = document["predicate"]
        how = predicate["serialization"]
        if (how["method"], how["hash_type"]) != ("files", "sha256"):
            raise Damaged("it does not name files by their SHA-256s")
        named = [(item["name"], item["algorithm"], item["digest"]) for item in predicate["resources"]]
        name, root = subject["name"], subject["digest"]["sha256"]
        whole = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, _, digest in named)).hexdigest()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged("what it signs is malformed") from None
    files = {path: digest for path, _, digest in named}
    whole_files = len(files) == len(named) and all(algorithm == "sha256" for _, algorithm, _ in named)
    if not isinstance(name, str) or not whole_files or root != whole:
        raise Damaged("what it signs is malformed")
    return Statement(name, files)
