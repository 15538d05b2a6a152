"""Public keys in files, and signatures by them.

A load that wants a signature checks it here, by `cryptography` alone: the package model-signing brings all of Sigstore
along, and takes longer to import than a small load takes. Tests hold the two to the same answers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hoist.errors import InvalidConfig, LocalError
from hoist.signing.bundle import Bundle
from hoist.signing.statement import PAYLOAD_TYPE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_MOST_KEY_BYTES = 64 << 10
MEND = "make one: openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem; openssl ec -in KEY.pem -pubout -out KEY.pub"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that may have signed. `name` is how the user calls it, `hint` the SHA-256 of it as PEM."""

    name: str
    hint: str
    _key: EllipticCurvePublicKey = field(repr=False)

    def why_not(self, bundle: Bundle) -> str:
        """Empty if the bundle's signature is by this key, else what is wrong."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        if bundle.hint != self.hint:
            return "it is by another key" if bundle.hint else "it is by a certificate, and not by a key"
        if bundle.payload_type != PAYLOAD_TYPE:
            return "it signs something else than a statement"
        try:
            self._key.verify(bundle.signature, bundle.signed, ECDSA(getattr(hashes, CURVES[self._key.curve.name])()))
        except InvalidSignature:
            return "it was tampered with: it is not by the key that it names"
        return ""


def read_public_key(path: Path) -> PublicKey:
    """The public key in a PEM file. Raises InvalidConfig if it holds none that can be used, LocalError without a package."""
    data = read_key_file(path)
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError:
        raise missing("checking a signature", "cryptography", "verify") from None
    if b"PRIVATE KEY" in data:
        raise InvalidConfig(f"{path} holds a private key, which belongs to who signs: give the public one")
    try:
        key = load_pem_public_key(data)
    except Exception as error:  # noqa: BLE001 whatever it raises, it is not the key that is wanted
        raise InvalidConfig(f"{path} is no public key in PEM ({type(error).__name__}): {MEND}") from None
    return public_key(str(path), key)


def public_key(name: str, key: object) -> PublicKey:
    """A key that was read, if its curve is one of those that are signed with. Raises InvalidConfig."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise InvalidConfig(f"{name} is no key of an elliptic curve P-256, P-384 or P-521: {MEND}")
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(name, hashlib.sha256(pem).hexdigest(), key)


def read_key_file(path: Path) -> bytes:
    """A key's file. Raises InvalidConfig if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_KEY_BYTES + 1)
    except OSError as error:
        raise InvalidConfig(
            f"cannot read the key {path}: {error.strerror}: name a file in PEM that this user may read"
        ) from None
    if len(data) > _MOST_KEY_BYTES:
        raise InvalidConfig(f"{path} is too large for a key")
    return data


def missing(what: str, module: str, extra: str) -> LocalError:
    """What to say where a package is not installed."""
    return LocalError(f"{what} needs {module}: pip install 'hoist[{extra}]'")
