"""hoist image plan: what a build or update would make and send, and what platforms say to it, before any byte moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hoist.errors import HoistError
from hoist.image.base import Base
from hoist.image.build import plan_models
from hoist.image.limits import Measures, Verdict, judge
from hoist.image.memo import Memo
from hoist.image.models import Model
from hoist.image.places import Image
from hoist.image.referring import referring_to
from hoist.image.update import Draft
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.layers import Plan, PlannedLayer
from hoist.parallel import SMALL_AT_ONCE, for_each

State = Literal["there", "mount", "kept", "send", "make"]
"""What becomes of a layer: it is there; it will be mounted from another repository; an update keeps it; it will be sent;
`make`: it is to be made, and sent unless the registry turns out to have it."""
# Any digest has this length, and length is all that is asked.
_SOME_DIGEST = "sha256:" + "0" * 64
_LARGEST_GZIP = 1 << 30


@dataclass(frozen=True, slots=True)
class PlannedBlob:
    """One layer. `size` as it is sent (an upper bound for one that is yet to be compressed), `unpacked` as a tar; None:
    not known. `digest` is empty where only making the layer would tell."""

    what: str
    size: int
    unpacked: int | None
    state: State
    digest: str = ""

    @property
    def moves(self) -> bool:
        """Whether its bytes will be sent."""
        return self.state in ("send", "make")


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """The layers of the image from the lowest; of several platforms each layer once. `measures`: the largest platform's."""

    address: str
    platforms: tuple[str, ...]
    layers: tuple[PlannedBlob, ...]
    measures: Measures
    verdicts: tuple[Verdict, ...]
    stale: tuple[str, ...] = ()

    @property
    def send_bytes(self) -> int:
        """What will be sent, but for documents of some kilobytes."""
        return sum(each.size for each in self.layers if each.moves)


def plan_build(
    source: Image | None, base: Base, models: Sequence[Model], target: Image | None, how: str, memo: Memo
) -> ImagePlan:
    """What `build_image` would do; without a target, what it would make."""
    plans = plan_models(base, models)
    blobs = {layer.digest: layer for image in base.images for layer in image.layers}
    looked = for_each(lambda blob: _base_layer(source, target, blob), blobs.values(), SMALL_AT_ONCE)
    below = dict(zip(blobs, looked, strict=True))
    made = [each for model, plan in zip(models, plans, strict=True) for each in _layers(model, plan, target, how, memo)]
    chains = [[below[layer.digest] for layer in image.layers] + made for image in base.images]
    platforms = tuple(image.platform for image in base.images)
    return _planned(target, platforms, [*below.values(), *made], chains)


def plan_update(target: Image, base: Base, draft: Draft, how: str, memo: Memo) -> ImagePlan:
    """What `update_image` would do."""
    kept: dict[str, PlannedBlob] = {}
    chains = []
    made = [each for one in draft.replacements for each in _layers(one.model, one.plan, target, how, memo)]
    made = [each for each in made if each.state != "kept"]
    for image in base.images:
        left = [
            (diff_id, layer)
            for diff_id, layer in zip(image.config.diff_ids, image.layers, strict=True)
            if diff_id not in draft.gone
        ]
        for diff_id, layer in left:
            name = layer.note("org.cncf.model.filepath") or layer.note("dev.hoist.layer") or "layer"
            plain = layer.size if diff_id == layer.digest else None
            kept.setdefault(layer.digest, PlannedBlob(f"kept {name}", layer.size, plain, "kept", layer.digest))
        chains.append([kept[layer.digest] for _, layer in left] + (made if image.versions else []))
    platforms = tuple(image.platform for image in base.images)
    found = _planned(target, platforms, [*kept.values(), *made], chains)
    digests = [base.digest, *(image.digest for image in base.images)]
    stale = tuple(str(each) for each in referring_to(target, digests)) if draft.replacements else ()
    return replace(found, stale=stale)


def _planned(
    target: Image | None,
    platforms: tuple[str, ...],
    layers: Sequence[PlannedBlob],
    chains: Sequence[Sequence[PlannedBlob]],
) -> ImagePlan:
    measured = [_measures(chain) for chain in chains]
    largest = Measures(
        max(each.image for each in measured),
        max(each.unpacked for each in measured),
        max(each.layer for each in measured),
        max(each.layers for each in measured),
        all(each.exact for each in measured),
    )
    host = target.address.place if target and target.address.where == "registry" else ""
    address = str(target.address) if target else ""
    return ImagePlan(address, platforms, tuple(layers), largest, tuple(judge(largest, host)))


def _measures(chain: Sequence[PlannedBlob]) -> Measures:
    return Measures(
        image=sum(each.size for each in chain),
        unpacked=sum(each.size if each.unpacked is None else each.unpacked for each in chain),
        layer=max((each.size for each in chain), default=0),
        layers=len(chain),
        exact=all(each.unpacked is not None for each in chain),
    )


def _base_layer(source: Image | None, target: Image | None, layer: Descriptor) -> PlannedBlob:
    assert source is not None, "scratch has no layers"
    near = target is not None and source.shares_place_with(target)
    return PlannedBlob(
        "base", layer.size, _unpacked(source, layer), _state(target, layer.digest, layer.size, near=near), layer.digest
    )


def _layers(model: Model, plan: Plan, target: Image | None, how: str, memo: Memo) -> list[PlannedBlob]:
    found = [_made(each, target, how, memo) for each in plan.layers]
    layer, data = model.documents(plan, plan.contents([_SOME_DIGEST] * len(plan.layers)))
    size = layer.size
    assert size >= sum(map(len, data.values()))
    return [*found, PlannedBlob(f"documents of {model.name}:{model.label}", size, size, "make")]


def _made(each: PlannedLayer, target: Image | None, how: str, memo: Memo) -> PlannedBlob:
    large = len(each.files) == 1
    what = each.files[0].path if large else f"{len(each.files)} files, {each.files[0].path} and others"
    if each.held is not None:
        return PlannedBlob(what, each.layer.size, each.layer.size, "kept", each.held.diff_id)
    known = memo.recall(each.layer, each.files, how)
    if known is None:
        return PlannedBlob(what, each.layer.size, each.layer.size, "make")
    state = _state(target, known.digest, known.size, near=False)
    return PlannedBlob(what, known.size, each.layer.size, state, known.digest)


def _state(target: Image | None, digest: str, size: int, *, near: bool) -> State:
    if target is None:
        return "send"
    if target.place.blob_size(target.repository, digest) == size:
        return "there"
    return "mount" if near or target.place.known_holders(digest) else "send"


def _unpacked(source: Image, layer: Descriptor) -> int | None:
    """How large a layer is as a tar, as far as that can be told without unpacking it."""
    if layer.media_type.endswith(".tar"):
        return layer.size
    if not layer.media_type.endswith("+gzip") or not 18 < layer.size < _LARGEST_GZIP:
        return None
    # Gzip says at its end how much it was, modulo 4 GiB; of an archive in several members only how much the last was.
    tail = bytearray(4)
    try:
        source.place.read_into(source.repository, layer.digest, layer.size - 4, memoryview(tail))
    except HoistError:
        return None
    said = int.from_bytes(tail, "little")
    return said if said >= layer.size else None
