"""The OCI documents of an image: manifest, index and config, read as somebody else may have made them. Pure.

Docker's older media types are read too. What Hoist writes is canonical JSON: the same image has the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hoist.errors import Damaged
from hoist.model import manifest
from hoist.model.image.descriptor import Descriptor, as_json, from_json

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
CREATED = "1970-01-01T00:00:00Z"
"""When every image of Hoist was made: its bytes depend on nothing but what is in it."""

MAX_DOCUMENT_BYTES = 4 << 20
MOST_DESCRIPTORS = 4096
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """An image of one platform: its config, its layers from the lowest to the topmost, and its annotations."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()
    media_type: str = MANIFEST_TYPE
    artifact_type: str = ""
    subject: Descriptor | None = None

    def to_bytes(self) -> bytes:
        """The document's one encoding. Raises Damaged if it is larger than registries take."""
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": as_json(self.config),
            "layers": [as_json(layer) for layer in self.layers],
        }
        return canonical(document | _said_of(self))


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """Images of several platforms, or other manifests, under one name."""

    manifests: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()
    media_type: str = INDEX_TYPE
    artifact_type: str = ""
    subject: Descriptor | None = None

    def to_bytes(self) -> bytes:
        """The document's one encoding. Raises Damaged if it is larger than registries take."""
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [as_json(each) for each in self.manifests],
        }
        return canonical(document | _said_of(self))


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image's config: what is checked of it, and the whole document, most of which is the affair of whoever runs it."""

    document: Mapping[str, Any]
    diff_ids: tuple[str, ...]
    labels: Mapping[str, str]
    platform: str

    def to_bytes(self) -> bytes:
        """The document's one encoding. Raises Damaged if it is larger than is read."""
        return canonical(self.document)

    def extended(
        self, diff_ids: Sequence[str], labels: Mapping[str, str], history: Sequence[Mapping[str, Any]]
    ) -> ImageConfig:
        """The same config with more layers on top, and labels set."""
        document = dict(self.document)
        rootfs = document.get("rootfs") or {"type": "layers"}
        document["rootfs"] = {**rootfs, "diff_ids": [*self.diff_ids, *diff_ids]}
        document["history"] = [*(document.get("history") or []), *history]
        document["config"] = {**(document.get("config") or {}), "Labels": {**self.labels, **labels}}
        return _config(document)


def parse_image(data: bytes, media_type: str = "") -> ImageManifest | ImageIndex | None:
    """Read a manifest or an index; None if it is another kind of document. Raises Damaged if it is malformed.

    `media_type` is what a registry called it, for those that do not say themselves what they are.
    """
    try:
        document = _load(data)
        said = document.get("mediaType") or media_type.partition(";")[0].strip()
        if said in (INDEX_TYPE, DOCKER_INDEX_TYPE):
            if "layers" in document or "config" in document:
                raise Damaged("the document is both an index and a manifest")
            return ImageIndex(_descriptors(document["manifests"]), _notes(document), said, **_rest(document))
        if said in (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE):
            if "manifests" in document:
                raise Damaged("the document is both a manifest and an index")
            layers = _descriptors(document.get("layers") or [])
            return ImageManifest(from_json(document["config"]), layers, _notes(document), said, **_rest(document))
        return None
    except _MALFORMED as error:
        raise Damaged(f"the image's manifest is malformed: {error!r}") from None


def parse_config(data: bytes) -> ImageConfig:
    """Read an image's config. Raises Damaged."""
    try:
        return _config(_load(data))
    except _MALFORMED as error:
        raise Damaged(f"the image's config is malformed: {error!r}") from None


def new_config(architecture: str = "amd64", system: str = "linux") -> ImageConfig:
    """The config of an image with no layer yet."""
    return _config(
        {
            "architecture": architecture,
            "os": system,
            "created": CREATED,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [],
        }
    )


def history_entry(created_by: str) -> dict[str, Any]:
    """What a config says of one layer."""
    return {"created": CREATED, "created_by": created_by}


def _said_of(image: ImageManifest | ImageIndex) -> dict[str, Any]:
    """What a manifest and an index may say besides."""
    found: dict[str, Any] = {}
    if image.annotations:
        found["annotations"] = dict(image.annotations)
    if image.artifact_type:
        found["artifactType"] = image.artifact_type
    if image.subject:
        found["subject"] = as_json(image.subject)
    return found


def canonical(document: Any) -> bytes:
    """A document's one encoding. Raises Damaged if it is too large."""
    data = manifest.canonical(document)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise Damaged(f"an image's document of {len(data)} bytes, {MAX_DOCUMENT_BYTES} at most")
    return data


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise Damaged(f"an image's document of {len(data)} bytes, {MAX_DOCUMENT_BYTES} at most")
    document = json.loads(data)
    if not isinstance(document, dict):
        raise TypeError("it is no object")
    # Lone surrogates cannot be written again.
    json.dumps(document, ensure_ascii=False).encode()
    return document


def _config(document: Mapping[str, Any]) -> ImageConfig:
    diff_ids = tuple((document.get("rootfs") or {}).get("diff_ids") or ())
    for diff_id in diff_ids:
        from_json({"mediaType": LAYER_TYPE, "digest": diff_id, "size": 0})
    if len(diff_ids) > MOST_DESCRIPTORS:
        raise ValueError("too many layers")
    labels = (document.get("config") or {}).get("Labels") or {}
    platform = "/".join(str(document.get(key)) for key in ("os", "architecture", "variant") if document.get(key))
    if not isinstance(document.get("history") or [], list):
        raise TypeError("its history is no list")
    texts = {key: value for key, value in labels.items() if isinstance(key, str) and isinstance(value, str)}
    return ImageConfig(document, diff_ids, texts, platform)


def _descriptors(listed: Any) -> tuple[Descriptor, ...]:
    if not isinstance(listed, list) or len(listed) > MOST_DESCRIPTORS:
        raise ValueError("its list is none, or too long")
    return tuple(from_json(each) for each in listed)


def _notes(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    notes = document.get("annotations") or {}
    return tuple(sorted((key, value) for key, value in notes.items() if isinstance(value, str)))


def _rest(document: Mapping[str, Any]) -> dict[str, Any]:
    subject = document.get("subject")
    return {
        "artifact_type": str(document.get("artifactType") or ""),
        "subject": from_json(subject) if subject is not None else None,
    }
