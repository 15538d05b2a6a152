"""The package model-signing, given a manifest in a folder's place. Imported only by who signs, or trusts an identity."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from model_signing import hashing, signing, verifying
from model_signing import manifest as signed
from model_signing._hashing.hashing import Digest

from hoist.model.manifest import Manifest
from hoist.signing.bundle import Bundle
from hoist.signing.statement import serialization_of, signed_files, subject_of


class _Hashed(hashing.Config):  # type: ignore[misc]
    """In the place of hashing: what the manifest says."""

    def __init__(self, found: signed.Manifest) -> None:
        super().__init__()
        self._found = found

    def hash(self, model_path: Any, *, files_to_hash: Any = None) -> signed.Manifest:
        """What is known already."""
        return self._found


def hashed(version: str, manifest: Manifest) -> signed.Manifest:
    """A version as model-signing would have hashed it."""
    items = (
        signed.FileManifestItem(
            path=PurePosixPath(file.path), digest=Digest("sha256", bytes.fromhex(file.digest.removeprefix("sha256:")))
        )
        for file in signed_files(manifest)
    )
    how = signed.SerializationType.from_args(serialization_of(manifest))
    return signed.Manifest(subject_of(version, manifest.digest), items, how)


def sign_by_key(version: str, manifest: Manifest, key: Path, password: bytes | None) -> bytes:
    """A signature by a private key that can be used."""
    # Its own annotation says str, and what it calls takes bytes alone.
    given: Any = password
    return sign_with(signing.Config().use_elliptic_key_signer(private_key=key, password=given), version, manifest)


def sign_with(config: signing.Config, version: str, manifest: Manifest) -> bytes:
    """A signature by whom the configuration says."""
    with TemporaryDirectory(prefix="hoist-sign-") as folder:
        path = Path(folder) / "model.sig"
        config.set_hashing_config(_Hashed(hashed(version, manifest))).sign(folder, path)
        return path.read_bytes()


def verify_with(config: verifying.Config, bundle: Bundle) -> None:
    """Check who signed; what was signed is checked by the caller. Raises what model-signing does."""
    from hoist.signing.statement import parse_statement

    said = parse_statement(bundle.payload)
    items = (
        signed.FileManifestItem(path=PurePosixPath(path), digest=Digest("sha256", bytes.fromhex(digest)))
        for path, digest in said.files.items()
    )
    how = signed.SerializationType.from_args({"method": "files", "hash_type": "sha256", "allow_symlinks": False})
    with TemporaryDirectory(prefix="hoist-sign-") as folder:
        path = Path(folder) / "model.sig"
        path.write_bytes(bundle.data)
        config.set_hashing_config(_Hashed(signed.Manifest(said.subject, items, how))).verify(Path(folder), path)
