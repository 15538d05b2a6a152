"""Pairs of keys, versions to sign, and what an attacker would make of them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from hoist.model.blocks import BlockTable, block_digest, file_blocks
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.signing.bundle import MEDIA_TYPE, parse_bundle
from hoist.signing.signer import Signer, open_signer

VERSION = "sd15/any:v1"
FILES = {"config.json": b"{}", "unet/weights.bin": b"w" * 1000, ".gitattributes": b"*.bin lfs"}


@dataclass(frozen=True)
class Pair:
    """A private and a public key in files."""

    private: Path
    public: Path

    def signer(self, **environ: str) -> Signer:
        return open_signer(str(self.private), environ)


def make_pair(folder: Path, name: str, curve: ec.EllipticCurve | None = None, password: str = "") -> Pair:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.pub")
    how = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    pair.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    pair.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pair


def manifest_of(files: Mapping[str, bytes], blocks: Mapping[str, bytes] | None = None) -> Manifest:
    """The manifest of some files; `blocks` are other bytes that its table of blocks vouches for."""
    tables = []
    for path, data in files.items():
        shown = (blocks or {}).get(path, data)
        cuts = list(pairwise([0, len(shown) // 2, len(shown)]))
        lengths = [end - begin for begin, end in cuts if end > begin]
        digests = [block_digest(shown[begin:end]) for begin, end in cuts if end > begin]
        tables.append(file_blocks(digest_of(data), lengths, digests))
    entries = [FileEntry(path, len(data), digest_of(data)) for path, data in files.items()]
    return Manifest.build(entries, BlockTable.build(tables).to_bytes())[0]


def payload_of(data: bytes) -> Any:
    """What a bundle signs, as JSON."""
    return json.loads(parse_bundle(data).payload)


def with_payload(data: bytes, payload: object) -> bytes:
    """The bundle with other content under the same signature."""
    document = json.loads(data)
    document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(document).encode()


def signed_by_hand(pair: Pair, payload: bytes, payload_type: str = "application/vnd.in-toto+json") -> bytes:
    """A bundle with a good signature by a P-256 key over whatever is given."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pair.private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    over = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode() + payload
    signature = base64.b64encode(key.sign(over, ec.ECDSA(hashes.SHA256()))).decode()
    hint = digest_of(pair.public.read_bytes()).removeprefix("sha256:")
    return json.dumps(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": payload_type,
                "signatures": [{"sig": signature, "keyid": ""}],
            },
        }
    ).encode()


def model_signing(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """OpenSSF model-signing's own command."""
    command = [sys.executable, "-m", "model_signing", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
