"""Making the layers of a model in an image, and having them where the image shall be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from hoist.errors import Damaged, DamagedBlock
from hoist.image.blobs import Tally, bytes_chunks, is_there
from hoist.image.compress import compressed, measured
from hoist.image.memo import Known, Memo
from hoist.image.models import Model
from hoist.image.places import Image
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import LAYER_TYPE
from hoist.model.image.labels import ImageVersion, layer_notes
from hoist.model.image.layers import Layer, Plan, PlannedLayer
from hoist.model.manifest import FileEntry, digest_of, digest_of_pieces


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """A layer as an image names it, its diff_id, and the files in it (none: documents)."""

    diff_id: str
    descriptor: Descriptor
    files: tuple[FileEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A model whose layers are all where the image shall be. `layers` are those that are new, that of documents last."""

    version: ImageVersion
    layers: tuple[PlacedLayer, ...]
    kept: tuple[str, ...] = ()
    """The diff_ids of layers of the image before."""


@dataclass(frozen=True)
class Placer:
    """Puts layers into the repository of `target`; `how` they are compressed, see compress.py."""

    target: Image
    memo: Memo
    tally: Tally
    how: str = ""

    def place(self, model: Model, plan: Plan) -> PlacedModel:
        """Have every layer of the model there. Raises DamagedBlock, Damaged, and what a storage may."""
        diff_ids: list[str] = []
        made: list[PlacedLayer] = []
        kept: list[str] = []
        for each in plan.layers:
            if each.held is not None:
                kept.append(each.held.diff_id)
                diff_ids.append(each.held.diff_id)
                continue
            known = self._place_layer(model, each)
            diff_ids.append(known.diff_id)
            made.append(PlacedLayer(known.diff_id, described(known, each.layer, each.files), each.files))
        layer, data = model.documents(plan, plan.contents(diff_ids))
        documents = self._place_documents(layer, data)
        version = ImageVersion(model.name, model.label, model.digest, documents.diff_id)
        return PlacedModel(version, (*made, documents), tuple(dict.fromkeys(kept)))

    def _place_layer(self, model: Model, each: PlannedLayer) -> Known:
        chunks = model.chunks(each.layer, each.files)
        known = self.memo.recall(each.layer, each.files, self.how)
        if known is None and self.how:
            known = Known(*measured(chunks))
        elif known is None and self._is_sooner_hashed(model, each.files):
            with closing(chunks(0)) as pieces:  # type: ignore[type-var]
                digest = digest_of_pieces(pieces)
            known = Known(digest, each.layer.size, digest)
        if known is None or not is_there(self.target, known.digest, known.size, self.tally, self._near(model)):
            size = known.size if known else each.layer.size
            sent = compressed(chunks) if self.how else chunks
            resume = " ".join(
                [self.how, *(f"{entry.digest} {model.name}:{model.label}/{entry.path}" for entry in each.files)]
            )
            try:
                digest = self.target.place.put_blob(
                    self.target.repository, known.digest if known else None, size, sent, self.tally.on_bytes, resume
                )
            except DamagedBlock:
                raise
            except Damaged:
                self.memo.forget(each.layer, each.files, self.how)
                raise
            known = known or Known(digest, size, digest)
        self.memo.note(each.layer, each.files, self.how, known)
        return known

    def _is_sooner_hashed(self, model: Model, files: Sequence[FileEntry]) -> bool:
        """Whether to read the files first, to know whether the registry has their layer: those of a disk here, where it
        has anything; those of an image in the same registry. Their layer there is not taken on trust."""
        if self._near(model):
            return True
        return bool(self.target.place.tags(self.target.repository)) and model.is_local(files)

    def _near(self, model: Model) -> str:
        """The repository of the same registry that has the model in an image."""
        return model.repository if model.place and model.place == self.target.address.place else ""

    def _place_documents(self, layer: Layer, data: Mapping[str, bytes]) -> PlacedLayer:
        """Documents are never compressed: they are read first, and by range they need no room."""
        archive = layer.to_bytes(data)
        digest = digest_of(archive)
        known = Known(digest, len(archive), digest)
        if not is_there(self.target, digest, len(archive), self.tally):
            self.target.place.put_blob(
                self.target.repository, digest, len(archive), bytes_chunks(archive), self.tally.on_bytes
            )
        return PlacedLayer(digest, described(known, layer, ()))


def described(known: Known, layer: Layer, files: Sequence[FileEntry]) -> Descriptor:
    """How an image names a layer."""
    media_type = LAYER_TYPE if known.digest == known.diff_id else LAYER_TYPE + "+zstd"
    return Descriptor(known.digest, known.size, media_type, layer_notes(layer.kind, files))
