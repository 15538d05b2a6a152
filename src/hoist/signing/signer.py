"""Signing: by a private key in a file, or by an identity that Sigstore vouches for. The package model-signing does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hoist.errors import InvalidConfig
from hoist.model.manifest import Manifest
from hoist.signing.keys import MEND, PublicKey, missing, public_key, read_key_file
from hoist.signing.trust import Trusted

KEYLESS = "sigstore"
"""Said in a key's place: sign by an identity."""


class Signer(Protocol):
    """Who signs."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def public(self) -> Trusted | None:
        """Who checks what it signed; None where that is not known before."""

    def sign(self, version: str, manifest: Manifest) -> bytes:
        """A signature of a version; `version` is NAME:LABEL. Raises LocalError, StorageUnavailable."""


@dataclass(frozen=True, slots=True)
class KeySigner:
    """A private key that was read, and can be used."""

    path: Path
    public: PublicKey
    _password: bytes | None = field(repr=False)

    @property
    def name(self) -> str:
        """The key's file."""
        return str(self.path)

    def sign(self, version: str, manifest: Manifest) -> bytes:
        """See Signer."""
        from hoist.signing import package

        return package.sign_by_key(version, manifest, self.path, self._password)


@dataclass(frozen=True, slots=True)
class KeylessSigner:
    """Whoever the token says; None: whoever this machine is, as a CI system's own token says."""

    _token: str | None = field(repr=False)
    name: str = KEYLESS
    public: Trusted | None = None

    def sign(self, version: str, manifest: Manifest) -> bytes:
        """See Signer."""
        from hoist.signing import keyless

        return keyless.sign(version, manifest, self._token)


def open_signer(key: str, environ: Mapping[str, str]) -> Signer:
    """The one who signs by the key in this file (its password in HOIST_SIGN_PASSWORD), or `sigstore` (who it is in
    HOIST_IDENTITY_TOKEN). Raises InvalidConfig, LocalError.

    Everything that can be wrong with it is found now, and not behind hours of sending.
    """
    try:
        import model_signing  # noqa: F401
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ModuleNotFoundError:
        raise missing("signing", "model-signing", "sign") from None
    if key == KEYLESS:
        return KeylessSigner(environ.get("HOIST_IDENTITY_TOKEN") or None)
    path = Path(key)
    data = read_key_file(path)
    secret = environ.get("HOIST_SIGN_PASSWORD", "").encode() or None
    try:
        private = load_pem_private_key(data, secret)
    except TypeError:
        mend = "no password: unset HOIST_SIGN_PASSWORD" if secret else "a password: give it as HOIST_SIGN_PASSWORD"
        raise InvalidConfig(f"the key {path} has {mend}") from None
    except Exception as error:  # noqa: BLE001 whatever it raises, it is not the key that is wanted; its text may be of the key
        if b"PUBLIC KEY" in data:
            raise InvalidConfig(
                f"{path} is no private key: it holds a public one, and who signs needs the other"
            ) from None
        hint = ", or HOIST_SIGN_PASSWORD is not its password" if secret else ""
        raise InvalidConfig(f"{path} is no private key in PEM{hint} ({type(error).__name__}): {MEND}") from None
    return KeySigner(path, public_key(str(path), private.public_key()), secret)
