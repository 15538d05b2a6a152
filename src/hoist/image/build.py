"""hoist image build: a base image and models become one runnable image, with no container engine and nothing unpacked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hoist.config import Config
from hoist.errors import Conflict, StorageUnsupported, UsageError
from hoist.image.base import Base, BaseImage
from hoist.image.blobs import Tally, bring_blob, new_tally
from hoist.image.compose import Composed, child_descriptor, compose, put_composed
from hoist.image.editing import Edits, edited
from hoist.image.layering import PlacedModel, Placer
from hoist.image.memo import Memo
from hoist.image.modelpack import put_modelpack
from hoist.image.models import Model
from hoist.image.places import Image
from hoist.model.image.documents import INDEX_TYPE, ImageIndex
from hoist.model.image.layers import MOST_LAYERS, Plan
from hoist.model.manifest import digest_of
from hoist.parallel import for_each
from hoist.progress import Progress

BASE_DIGEST = "org.opencontainers.image.base.digest"
MOST_IMAGE_LAYERS = 125
"""What Docker Engine takes; see limits.toml."""
_BLOBS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build; `how` layers are compressed is what compress.way_of says."""

    edits: Edits = field(default_factory=Edits)
    modelpack: bool = False
    how: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build or update did. Bytes of blobs: sent, mounted from another repository, and there already.

    `stale` are signatures and attestations that are of the image before, and not of this one.
    """

    address: str
    digest: str
    platforms: tuple[str, ...]
    versions: tuple[str, ...]
    layers: int
    size: int
    sent_bytes: int
    mounted_bytes: int
    there_bytes: int
    seconds: float
    already: bool = False
    modelpack: str = ""
    replaced: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


def build_image(
    source: Image | None,
    base: Base,
    models: Sequence[Model],
    target: Image,
    options: BuildOptions,
    config: Config,
    progress: Progress,
) -> Built:
    """Build the image at `target`; `source` is where the base lies, None for scratch. The same input gives the same digest.

    Raises UsageError, Conflict where the base holds another version of that label, DamagedBlock, and what places may.
    """
    began = time.monotonic()
    if options.modelpack and len(models) != 1:
        raise UsageError("--modelpack describes one model: build it with one --model")
    wanted = [model for model in models if not _holds(base, model)]
    if options.modelpack and not wanted:
        raise UsageError("the base holds the model already: --modelpack is made where the model is added")
    plans = plan_models(base, wanted)
    tally = new_tally(progress, config)
    progress.begin("build", _size(base, plans))
    try:
        if source is not None:
            blobs = {layer.digest: layer for image in base.images for layer in image.layers}
            for_each(lambda blob: bring_blob(source, target, blob, tally), blobs.values(), _BLOBS_AT_ONCE)
        placer = Placer(target, Memo(config.cache_folder / "layers"), tally, options.how)
        placed = [placer.place(model, plan) for model, plan in zip(wanted, plans, strict=True)]
        made = [_composed(image, placed, options.edits) for image in base.images]
        digest = _put(target, base, made, tally)
        pack = put_modelpack(target, models[0], placed[0], tally) if options.modelpack else ""
    finally:
        progress.end()
    return Built(
        address=str(target.address),
        digest=digest,
        platforms=tuple(each.platform for each in made),
        versions=tuple(f"{model.name}:{model.label}" for model in models),
        layers=len(made[0].layers),
        size=sum(layer.size for layer in made[0].layers),
        sent_bytes=tally.sent,
        mounted_bytes=tally.mounted,
        there_bytes=tally.there,
        seconds=time.monotonic() - began,
        modelpack=pack,
    )


def plan_models(base: Base, models: Sequence[Model]) -> list[Plan]:
    """The layers of each model, few enough that the image can be run. Raises StorageUnsupported."""
    if not models:
        return []
    below = max(len(image.layers) for image in base.images)
    each = min(MOST_LAYERS, (MOST_IMAGE_LAYERS - below) // len(models))
    if each < 3:
        raise StorageUnsupported(
            f"the base has {below} layers, of {MOST_IMAGE_LAYERS} that an image may have: there is no room for "
            f"{len(models)} models; flatten the base, or build fewer models into it"
        )
    return [model.plan((), each) for model in models]


def _holds(base: Base, model: Model) -> bool:
    """Whether every platform of the base has the version. Raises Conflict where one has another of that label."""
    found = []
    for image in base.images:
        same = [each for each in image.versions if (each.name, each.label) == (model.name, model.label)]
        if same and same[0].digest != model.digest:
            raise Conflict(
                f"the base holds another {model.name}:{model.label}: build on a base without it, or hoist image update it"
            )
        found.append(bool(same))
    return all(found)


def _composed(image: BaseImage, placed: Sequence[PlacedModel], edits: Edits) -> Composed:
    held = {(each.name, each.label): each for each in image.versions}
    new = [each for each in placed if (each.version.name, each.version.label) not in held]
    layers = [layer for each in new for layer in each.layers]
    versions = [*held.values(), *(each.version for each in new)]
    base = BaseImage(image.platform, edited(image.config, edits), image.manifest, image.digest)
    notes = {BASE_DIGEST: image.digest} if image.digest else {}
    return compose(base, frozenset(), layers, versions, notes, "hoist image build")


def _put(target: Image, base: Base, made: Sequence[Composed], tally: Tally) -> str:
    """Store the image under its tag, last of all; its digest."""
    if base.index is None:
        put_composed(target, made[0], target.address.reference, tally)
        return made[0].digest
    for each in made:
        put_composed(target, each, each.digest, tally)
    index = ImageIndex(tuple(child_descriptor(each) for each in made), base.index.annotations)
    data = index.to_bytes()
    target.place.put_manifest(target.repository, target.address.reference, data, INDEX_TYPE)
    return digest_of(data)


def _size(base: Base, plans: Sequence[Plan]) -> int:
    blobs = {layer.digest: layer.size for image in base.images for layer in image.layers}
    return sum(blobs.values()) + sum(each.layer.size for plan in plans for each in plan.made)
