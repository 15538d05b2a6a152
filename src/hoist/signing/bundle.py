"""The file that holds a signature: a Sigstore bundle (v0.3) around a DSSE envelope, as model-signing writes it. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field

from hoist.errors import Damaged

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MOST_SIGNATURE_BYTES = 128 << 20
"""A signature names each file: a manifest as large as may be has one of about this size."""
_HINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as it was read, nothing of it believed. `hint` is the SHA-256 of the signer's public key (PEM), as the
    bundle says it; empty: it was signed without a key of the signer's own, by a certificate."""

    data: bytes = field(repr=False)
    payload_type: str
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    hint: str

    @property
    def signer(self) -> str:
        """64 hexadecimal digits that say by whom it claims to be; of no two signers the same."""
        return self.hint or hashlib.sha256(self.data).hexdigest()

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over: the envelope's pre-authentication encoding."""
        head = f"DSSEv1 {len(self.payload_type.encode())} {self.payload_type} {len(self.payload)} "
        return head.encode() + self.payload


def parse_bundle(data: bytes) -> Bundle:
    """Read a bundle. Raises Damaged for anything but a well-formed one with one signature."""
    if len(data) > MOST_SIGNATURE_BYTES:
        raise Damaged(f"a signature of {len(data)} bytes, {MOST_SIGNATURE_BYTES} at most")
    try:
        document = json.loads(data)
        envelope = document["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        raw = base64.b64decode(signature["sig"], validate=True)
        payload_type, material = envelope["payloadType"], document["verificationMaterial"]
        hint = material["publicKey"]["hint"] if "publicKey" in material else ""
        wanted = document["mediaType"] == MEDIA_TYPE and isinstance(payload_type, str) and isinstance(hint, str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged("the signature is no Sigstore bundle of one signature") from None
    if not wanted or (hint and not _HINT.fullmatch(hint)) or (not hint and "publicKey" in material):
        raise Damaged("the signature is a Sigstore bundle of another kind")
    return Bundle(data, payload_type, payload, raw, hint)
