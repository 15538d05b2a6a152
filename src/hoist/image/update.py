"""hoist image update: another version of a model in an image that lies in a registry; only changed files are sent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hoist.config import Config
from hoist.errors import Conflict, UsageError, VersionNotFound
from hoist.image.base import Base, BaseImage, is_image
from hoist.image.blobs import Tally, new_tally
from hoist.image.build import MOST_IMAGE_LAYERS, Built
from hoist.image.compose import Composed, child_descriptor, compose, put_composed
from hoist.image.layering import PlacedModel, Placer
from hoist.image.memo import Memo
from hoist.image.models import Model
from hoist.image.places import Image
from hoist.image.referring import referring_to
from hoist.model.image.documents import INDEX_TYPE, ImageIndex
from hoist.model.image.labels import ImageVersion
from hoist.model.image.layers import MOST_LAYERS, HeldLayer, Plan, held_layers
from hoist.model.manifest import digest_of
from hoist.progress import Progress
from hoist.storage.image.opened import Image as OpenedImage
from hoist.storage.oci.repositories import Document

ATTESTS = "vnd.docker.reference.digest"
"""What BuildKit's attestations say of themselves, in an index: which image of it they are of."""


@dataclass(frozen=True)
class Replacement:
    """A model whose version in the image is to be another: the old one, and the layers of it by diff_id."""

    model: Model
    old: ImageVersion
    held: tuple[HeldLayer, ...]
    old_layers: frozenset[str]
    plan: Plan


@dataclass(frozen=True)
class Draft:
    """What an update would do, before any byte moves. `gone`: the layers that nothing needs any more."""

    replacements: tuple[Replacement, ...]
    gone: frozenset[str]


def draft_update(image: Image, base: Base, models: Sequence[Model]) -> Draft:
    """What to keep of the image and what to make. Raises VersionNotFound with the mend, UsageError, Damaged."""
    holders = [each for each in base.images if each.versions]
    if not holders:
        raise VersionNotFound(f"{image.address} holds no model of Hoist's: hoist image build --base adds one")
    # Every platform has the same layers of models.
    first = holders[0]
    layers_of = _layers_by_version(image, first)
    replaced = {old: model for model in models for old in [_old(image, first, model)] if old.digest != model.digest}
    room = MOST_LAYERS
    if replaced:
        others = max(len(each.layers) for each in base.images) - sum(len(layers_of[old][1]) for old in replaced)
        room = max(3, min(MOST_LAYERS, (MOST_IMAGE_LAYERS - others) // len(replaced)))
    found = []
    for old, model in replaced.items():
        held, ids = layers_of[old]
        found.append(Replacement(model, old, tuple(held), ids, model.plan(held, room)))
    kept = {layer.held.diff_id for each in found for layer in each.plan.layers if layer.held}
    needed = {diff_id for version, (_, ids) in layers_of.items() if version not in replaced for diff_id in ids}
    old_ids = {diff_id for each in found for diff_id in each.old_layers}
    return Draft(tuple(found), frozenset(old_ids - kept - needed))


def update_image(
    target: Image,
    base: Base,
    draft: Draft,
    tag: str,
    how: str,
    config: Config,
    progress: Progress,
    models: Sequence[Model],
) -> Built:
    """Carry the draft out and put the image under `tag`. What is not replaced keeps its bytes.

    Raises DamagedBlock, Damaged, Conflict where the tag names another image by now, and what places may.
    """
    began = time.monotonic()
    tally = new_tally(progress, config)
    made_layers = [each for one in draft.replacements for each in one.plan.made]
    progress.begin("update", sum(each.layer.size for each in made_layers))
    try:
        placer = Placer(target, Memo(config.cache_folder / "layers"), tally, how)
        placed = {each.old: placer.place(each.model, each.plan) for each in draft.replacements}
        made = {
            image.digest: _composed(image, draft, placed) for image in base.images if placed and _has(image, placed)
        }
        if tag == target.address.reference and target.document().digest != base.digest:
            raise Conflict(f"{target.address} was changed by somebody else meanwhile: run the update again")
        digest = _put(target.at(tag), base, made, tally)
    finally:
        progress.end()
    shown = next(iter(made.values()), None)
    layers = shown.layers if shown else base.images[0].layers
    old_digests = [base.digest, *(image.digest for image in base.images if image.digest in made)]
    return Built(
        address=str(target.address.at(tag)),
        digest=digest,
        platforms=tuple(image.platform for image in base.images),
        versions=tuple(f"{model.name}:{model.label}" for model in models),
        layers=len(layers),
        size=sum(layer.size for layer in layers),
        sent_bytes=tally.sent,
        mounted_bytes=tally.mounted,
        there_bytes=tally.there,
        seconds=time.monotonic() - began,
        already=not made,
        replaced=tuple(f"{each.old.name}:{each.old.label}" for each in draft.replacements),
        stale=(*(str(each) for each in referring_to(target, old_digests)), *_attested(base, made)) if made else (),
    )


def _old(image: Image, base: BaseImage, model: Model) -> ImageVersion:
    """The version that a model replaces."""
    found = [each for each in base.versions if each.name == model.name]
    same = [each for each in found if each.label == model.label]
    if len(same or found) == 1:
        return (same or found)[0]
    if found:
        labels = ", ".join(each.label for each in found)
        raise UsageError(f"{image.address} holds several versions of {model.name} ({labels}): build the image anew")
    names = ", ".join(sorted({each.name for each in base.versions}))
    raise VersionNotFound(
        f"{image.address} holds no {model.name}; it has {names}: hoist image build --base {image.address} adds it"
    )


def _layers_by_version(
    image: Image, base: BaseImage
) -> Mapping[ImageVersion, tuple[Sequence[HeldLayer], frozenset[str]]]:
    """Of each version in an image: its file layers, and the diff_ids of all its layers."""
    opened = OpenedImage(image.place, image.repository, Document(b"", base.digest, ""), base.manifest)
    found = {}
    for version in base.versions:
        documents = opened.documents(version)
        ids = {layer.diff_id for layer in documents.contents.layers} | {version.documents}
        found[version] = (held_layers(documents.contents, documents.manifest), frozenset(ids))
    return found


def _has(image: BaseImage, placed: Mapping[ImageVersion, PlacedModel]) -> bool:
    return any(version in placed for version in image.versions)


def _composed(image: BaseImage, draft: Draft, placed: Mapping[ImageVersion, PlacedModel]) -> Composed:
    replaced = {old: new for old, new in placed.items() if old in image.versions}
    versions = [replaced[each].version if each in replaced else each for each in image.versions]
    added = [layer for each in replaced.values() for layer in each.layers]
    return compose(image, draft.gone, added, versions, {}, "hoist image update")


def _attested(base: Base, made: Mapping[str, Composed]) -> list[str]:
    """The entries of an index that attest an image which is replaced: they stay in the index before."""
    entries = base.index.manifests if base.index else ()
    return [each.digest for each in entries if each.note(ATTESTS) in made]


def _put(target: Image, base: Base, made: Mapping[str, Composed], tally: Tally) -> str:
    """Store what is new, and the tag last of all; the digest of what it names."""
    reference = target.address.reference
    if base.index is None:
        image = base.images[0]
        if image.digest in made:
            put_composed(target, made[image.digest], reference, tally)
            return made[image.digest].digest
    elif made:
        for each in made.values():
            put_composed(target, each, each.digest, tally)
        manifests = tuple(
            child_descriptor(made[each.digest], each) if is_image(each) and each.digest in made else each
            for each in base.index.manifests
            if each.digest not in _attested(base, made)
        )
        data = ImageIndex(manifests, base.index.annotations).to_bytes()
        target.place.put_manifest(target.repository, reference, data, INDEX_TYPE)
        return digest_of(data)
    document = target.place.manifest(target.repository, base.digest)
    target.place.put_manifest(target.repository, reference, document.data, document.media_type)
    return document.digest
