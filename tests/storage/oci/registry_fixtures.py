"""A registry client on the real registry, with a repository of its own, and what is put there.

A plugin of the modules here, which import from it too: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from hoist.storage.oci.manifests import MANIFEST
from hoist.storage.oci.registry import Registry
from hoist.storage.oci.repositories import Chunks
from hoist.testing.conformance.base import sample

BIG = sample("registry", 20 << 20)
OpenRegistry = Callable[..., Registry]


@pytest.fixture
def open_registry_at(tmp_path: Path) -> Iterator[OpenRegistry]:
    """`open_registry_at(endpoint, **options)`: a client with notes below `tmp_path`, closed after the test."""
    opened: list[Registry] = []

    def open_it(endpoint: str, **options: Any) -> Registry:
        defaults: dict[str, Any] = {"uploads": tmp_path / "uploads", "retry_seconds": 10.0, "chunk_bytes": 4 << 20}
        host = endpoint.partition("://")[2]
        opened.append(Registry(endpoint, host, f"oci://{host}/models", **(defaults | options)))
        return opened[-1]

    yield open_it
    for registry in opened:
        registry.close()


@pytest.fixture
def repository() -> str:
    """The name of a repository that nothing else uses."""
    return f"models/{uuid4().hex[:12]}"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def chunks_of(data: bytes, step: int = 300_000) -> Chunks:
    """The bytes from any offset on, in slices that are reused, as the protocol allows."""

    def chunks(begin: int) -> Iterator[memoryview]:
        scratch = bytearray(step)
        for at in range(begin, len(data), step):
            part = data[at : at + step]
            scratch[: len(part)] = part
            yield memoryview(scratch)[: len(part)]
            scratch[: len(part)] = bytes(len(part))

    return chunks


def put(registry: Registry, repository: str, data: bytes, **options: Any) -> str:
    """Put a blob whose digest is known; its digest."""
    return registry.put_blob(repository, digest_of(data), len(data), chunks_of(data), ignore, **options)


def read(registry: Registry, repository: str, digest: str, begin: int, end: int) -> bytes:
    buffer = bytearray(end - begin)
    registry.read_into(repository, digest, begin, memoryview(buffer))
    return bytes(buffer)


def stream(registry: Registry, repository: str, digest: str, size: int) -> bytes:
    with registry.stream_blob(repository, digest, size) as slices:
        return b"".join(bytes(part) for part in slices)


def ignore(count: int) -> None:
    """For progress that nobody watches."""


def image(registry: Registry, repository: str, tag: str, note: str = "", **fields: Any) -> tuple[bytes, str]:
    """Put a small image under a tag; its manifest and digest."""
    config = put(registry, repository, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [],
        "annotations": {"note": note or tag},
        **fields,
    }
    data = json.dumps(document).encode()
    registry.put_manifest(repository, tag, data, MANIFEST)
    return data, digest_of(data)
