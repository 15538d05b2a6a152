"""An image that lies somewhere, platform by platform: what is built upon, or updated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hoist.errors import Damaged, StorageUnsupported, UsageError
from hoist.image.places import Image
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import (
    CONFIG_TYPE,
    DOCKER_CONFIG_TYPE,
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    MAX_DOCUMENT_BYTES,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    new_config,
    parse_config,
    parse_image,
)
from hoist.model.image.labels import VERSIONS, ImageVersion, parse_versions

DEFAULT_PLATFORM = "linux/amd64"
# What Docker's layers are called in OCI's words; the bytes are the same.
_LAYERS = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_TYPE + "+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_TYPE + "+zstd",
}
_TAKEN = (LAYER_TYPE, LAYER_TYPE + "+gzip", LAYER_TYPE + "+zstd")


@dataclass(frozen=True, slots=True)
class BaseImage:
    """One platform's image in OCI's words; `digest` is that of its manifest as it lies there, empty for none."""

    platform: str
    config: ImageConfig
    manifest: ImageManifest
    digest: str = ""

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, from the lowest."""
        return self.manifest.layers

    @property
    def versions(self) -> tuple[ImageVersion, ...]:
        """The versions of models that it holds."""
        text = dict(self.manifest.annotations).get(VERSIONS) or self.config.labels.get(VERSIONS)
        return parse_versions(text) if text else ()


@dataclass(frozen=True, slots=True)
class Base:
    """All platforms of an image. `index` is set where it is an index; `others` are its manifests that are no images of a
    platform asked for, such as attestations."""

    images: tuple[BaseImage, ...]
    digest: str = ""
    index: ImageIndex | None = None


def scratch(platforms: Sequence[str]) -> Base:
    """An image with nothing in it, for each platform. Raises UsageError."""
    found = []
    for platform in platforms or (DEFAULT_PLATFORM,):
        system, slash, architecture = platform.partition("/")
        architecture, _, variant = architecture.partition("/")
        if not slash or not architecture or not system:
            raise UsageError(f"{platform!r} is no platform: write OS/ARCHITECTURE, as in linux/amd64")
        config = new_config(architecture, system)
        if variant:
            config = parse_config(replace_variant(config, variant))
        found.append(BaseImage(platform, config, ImageManifest(Descriptor("", 0, CONFIG_TYPE), ())))
    several = ImageIndex(()) if len(found) > 1 else None
    return Base(tuple(found), index=several)


def replace_variant(config: ImageConfig, variant: str) -> bytes:
    """The config with a variant of its architecture."""
    return replace(config, document={**config.document, "variant": variant}).to_bytes()


def read_base(image: Image, platforms: Sequence[str] = ()) -> Base:
    """The image at an address: of an index every platform, or those asked for.

    Raises VersionNotFound, Damaged, StorageUnsupported for what is no image, UsageError for a platform that is not there.
    """
    document = image.document()
    parsed = parse_image(document.data, document.media_type)
    if isinstance(parsed, ImageIndex):
        return _of_index(image, parsed, document.digest, platforms)
    if parsed is None:
        raise StorageUnsupported(
            f"{image.address} is no image of OCI's or Docker's second schema ({document.media_type or 'no media type'}): "
            "push it again with a newer tool, or copy it with skopeo copy --format oci"
        )
    found = _image(image, parsed, document.digest)
    if platforms and not any(matches(found.platform, wanted) for wanted in platforms):
        raise UsageError(f"{image.address} is for {found.platform}, not {', '.join(platforms)}")
    return Base((found,), document.digest)


def matches(platform: str, wanted: str) -> bool:
    """Whether a platform is what was asked for; a variant that is not asked for does not matter."""
    return platform == wanted or platform.startswith(wanted + "/")


def is_image(descriptor: Descriptor) -> bool:
    """Whether an index's entry is an image of a platform; build tools add attestations for "unknown" ones."""
    return (
        descriptor.media_type in (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE)
        and not descriptor.artifact_type
        and descriptor.platform not in ("", "unknown/unknown")
    )


def _of_index(image: Image, index: ImageIndex, digest: str, platforms: Sequence[str]) -> Base:
    there = [each for each in index.manifests if is_image(each)]
    for wanted in platforms:
        if not any(matches(each.platform, wanted) for each in there):
            known = ", ".join(each.platform for each in there) or "none"
            raise UsageError(f"{image.address} has no platform {wanted}; it has {known}")
    chosen = [each for each in there if not platforms or any(matches(each.platform, one) for one in platforms)]
    if not chosen:
        raise StorageUnsupported(f"{image.address} is an index with no image of a platform")
    return Base(tuple(_child(image, each) for each in chosen), digest, replace(index, media_type=INDEX_TYPE))


def _child(image: Image, descriptor: Descriptor) -> BaseImage:
    document = image.place.manifest(image.repository, descriptor.digest)
    parsed = parse_image(document.data, document.media_type or descriptor.media_type)
    if not isinstance(parsed, ImageManifest):
        raise Damaged(f"{image.address}: {descriptor.digest} is no image, but its index says so")
    return replace(_image(image, parsed, document.digest), platform=descriptor.platform)


def _image(image: Image, manifest: ImageManifest, digest: str) -> BaseImage:
    if manifest.config.media_type not in (CONFIG_TYPE, DOCKER_CONFIG_TYPE):
        raise StorageUnsupported(f"{image.address} is no image that runs: its config is {manifest.config.media_type}")
    data = image.place.read_blob(image.repository, manifest.config.digest, MAX_DOCUMENT_BYTES)
    config = parse_config(data)
    if len(config.diff_ids) != len(manifest.layers):
        raise Damaged(f"{image.address} has {len(manifest.layers)} layers, and its config says {len(config.diff_ids)}")
    layers = tuple(_layer(image, each) for each in manifest.layers)
    return BaseImage(config.platform, config, replace(manifest, layers=layers, media_type=MANIFEST_TYPE), digest)


def _layer(image: Image, layer: Descriptor) -> Descriptor:
    media_type = _LAYERS.get(layer.media_type, layer.media_type)
    if media_type not in _TAKEN:
        raise StorageUnsupported(
            f"{image.address} has a layer of type {layer.media_type}, which cannot be built upon: only tar, tar+gzip and "
            "tar+zstd can"
        )
    return replace(layer, media_type=media_type)
