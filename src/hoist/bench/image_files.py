"""What the image benchmark puts into images: safetensors files of bf16 noise, and an OCI layout of them for other tools.

The layout is written here with the standard library alone, one uncompressed tar layer a file: what is compared with Hoist
must not come from Hoist.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

MIB = 1 << 20
_ROW = 1024
_TENSOR_BYTES = 32 * MIB
_BLOCK_ELEMENTS = 4 * MIB
_SPREAD = np.float32(0.02)
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_TIME = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob of an OCI layout: where it is, its digest `sha256:HEX`, and its size in bytes."""

    path: Path
    digest: str
    size: int


def write_bf16(path: Path, size: int, seed: int) -> Path:
    """Write a safetensors file of about `size` bytes: weights of 32 MiB at most each, normal noise in bfloat16."""
    rows = [_TENSOR_BYTES // (2 * _ROW)] * (size // _TENSOR_BYTES)
    rest = size % _TENSOR_BYTES // (2 * _ROW)
    rows += [rest] if rest else []
    header, at = cast("dict[str, Any]", {"__metadata__": {"format": "pt"}}), 0
    for number, count in enumerate(rows):
        end = at + count * _ROW * 2
        name = f"model.layers.{number}.weight"
        header[name] = {"dtype": "BF16", "shape": [count, _ROW], "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for block in _noise(sum(rows) * _ROW, seed):
            file.write(block)
    return path


def _noise(count: int, seed: int) -> Iterator[memoryview]:
    """That many normals in bfloat16: the upper half of a float's bits."""
    rng = np.random.Generator(np.random.SFC64(seed))
    for start in range(0, count, _BLOCK_ELEMENTS):
        values = rng.standard_normal(min(_BLOCK_ELEMENTS, count - start), dtype=np.float32) * _SPREAD
        yield (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16).data


def write_layout(folder: Path, files: Sequence[Path], tag: str, into: str = "models") -> list[Blob]:
    """Write an OCI image layout of one image with a layer a file, below the folder `into`; its layers."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    layers = [_layer(blobs, file, f"{into}/{file.name}") for file in files]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": _TIME,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _document(blobs, config, _CONFIG),
        "layers": [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.size} for layer in layers],
    }
    named = _document(blobs, manifest, _MANIFEST) | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [named]}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps(index))
    return layers


def _layer(blobs: Path, file: Path, member: str) -> Blob:
    partial = blobs / f".{os.getpid()}.partial"
    with partial.open("wb") as out:
        hashing = _Hashing(out)
        with tarfile.open(fileobj=cast("BinaryIO", hashing), mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            info = tarfile.TarInfo(member)
            info.size, info.mode = file.stat().st_size, 0o444
            with file.open("rb") as source:
                tar.addfile(info, source)
    name = hashing.hash.hexdigest()
    partial.replace(blobs / name)
    return Blob(blobs / name, f"sha256:{name}", hashing.size)


class _Hashing:
    """A file to write to that keeps the digest and size of what it was given."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.hash, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self._out.write(data)


def _document(blobs: Path, document: Mapping[str, Any], media_type: str) -> dict[str, Any]:
    data = json.dumps(document).encode()
    name = hashlib.sha256(data).hexdigest()
    (blobs / name).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}
