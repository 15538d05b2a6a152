"""Putting an image together from layers: its config, its manifest, an index over platforms. Documents only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hoist.image.base import BaseImage
from hoist.image.blobs import Tally, put_document
from hoist.image.layering import PlacedLayer
from hoist.image.places import Image
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import (
    CONFIG_TYPE,
    MANIFEST_TYPE,
    ImageConfig,
    ImageManifest,
    history_entry,
    parse_config,
)
from hoist.model.image.documents import canonical as canonical_json
from hoist.model.image.labels import VERSIONS, ImageVersion, versions_text
from hoist.model.manifest import digest_of


@dataclass(frozen=True, slots=True)
class Composed:
    """An image's documents: what is stored to make it exist."""

    platform: str
    config: bytes
    manifest: bytes
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> str:
        """The image's digest."""
        return digest_of(self.manifest)


def compose(
    image: BaseImage,
    gone: frozenset[str],
    added: Sequence[PlacedLayer],
    versions: Sequence[ImageVersion],
    annotations: Mapping[str, str],
    why: str,
) -> Composed:
    """The image without the layers whose diff_ids are `gone`, and with those `added` on top; it holds `versions`.

    `why` is what its history says of the new layers.
    """
    pairs = list(zip(image.config.diff_ids, image.layers, strict=True))
    left = [(diff_id, layer) for diff_id, layer in pairs if diff_id not in gone]
    known = {diff_id for diff_id, _ in left}
    # A layer that two models share is one layer.
    fresh = {each.diff_id: each.descriptor for each in added if each.diff_id not in known}
    labels = {VERSIONS: versions_text(versions)}
    config = _without(image.config, [diff_id not in gone for diff_id, _ in pairs])
    told = _tells_history(config, len(left))
    config = config.extended(list(fresh), labels, [history_entry(why)] * len(fresh) if told else [])
    data = config.to_bytes()
    layers = (*(layer for _, layer in left), *fresh.values())
    manifest = replace(
        image.manifest,
        config=Descriptor(digest_of(data), len(data), CONFIG_TYPE),
        layers=layers,
        annotations=tuple(sorted({**dict(image.manifest.annotations), **annotations, **labels}.items())),
        media_type=MANIFEST_TYPE,
    )
    return Composed(image.platform, data, _manifest_bytes(manifest), layers)


def put_composed(target: Image, made: Composed, reference: str, tally: Tally) -> None:
    """Store the config, then the manifest under a tag or its digest. Its layers have to be there."""
    put_document(target, made.config, digest_of(made.config), tally)
    target.place.put_manifest(target.repository, reference, made.manifest, MANIFEST_TYPE)


def child_descriptor(made: Composed, like: Descriptor | None = None) -> Descriptor:
    """How an index names the image; `like` is how it named the one before."""
    notes = like.annotations if like else ()
    return Descriptor(made.digest, len(made.manifest), MANIFEST_TYPE, notes, platform=made.platform)


def _without(config: ImageConfig, kept: Sequence[bool]) -> ImageConfig:
    """The config without some of its layers, in its list of layers and its history."""
    if all(kept):
        return config
    document: dict[str, Any] = dict(config.document)
    rootfs = dict(document.get("rootfs") or {})
    rootfs["diff_ids"] = [diff_id for diff_id, keep in zip(config.diff_ids, kept, strict=True) if keep]
    document["rootfs"] = rootfs
    if _tells_history(config, len(kept)):
        layers = iter(kept)
        history = document["history"]
        document["history"] = [each for each in history if each.get("empty_layer") or next(layers)]
    return parse_config(canonical_json(document))


def _tells_history(config: ImageConfig, layers: int) -> bool:
    """Whether the history has an entry for every layer, so that it can be gone on with."""
    history = config.document.get("history") or []
    return all(isinstance(each, dict) for each in history) and layers == sum(
        not each.get("empty_layer") for each in history
    )


def _manifest_bytes(manifest: ImageManifest) -> bytes:
    return manifest.to_bytes()
