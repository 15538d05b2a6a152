"""A ModelPack artifact over the very blobs of an image: a second manifest, under TAG-modelpack.

https://github.com/modelpack/model-spec: clients of models pull it, container engines pull the image, and the registry keeps
the weights once. Its layers are those with the model's files, not that of Hoist's documents.
"""

from __future__ import annotations

from hoist.image.blobs import Tally, put_document
from hoist.image.layering import PlacedLayer, PlacedModel
from hoist.image.models import Model
from hoist.image.places import Image
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import MANIFEST_TYPE, ImageManifest, canonical
from hoist.model.image.labels import FILEPATH
from hoist.model.image.layers import file_path
from hoist.model.manifest import ARTIFACT_TYPE, CONFIG_TYPE, FileEntry, digest_of, file_format, file_kind

SUFFIX = "-modelpack"
_LAYER_TYPE = "application/vnd.cncf.model.{}.v1.tar{}"


def put_modelpack(target: Image, model: Model, placed: PlacedModel, tally: Tally) -> str:
    """Store the artifact of a model whose layers are in the target's repository; its tag."""
    layers = [each for each in placed.layers if each.files]
    config = _config(model, layers)
    manifest = ImageManifest(
        Descriptor(digest_of(config), len(config), CONFIG_TYPE),
        tuple(_layer(model, each) for each in layers),
        artifact_type=ARTIFACT_TYPE,
    )
    put_document(target, config, digest_of(config), tally)
    tag = target.address.reference + SUFFIX
    target.place.put_manifest(target.repository, tag, manifest.to_bytes(), MANIFEST_TYPE)
    return tag


def _config(model: Model, layers: list[PlacedLayer]) -> bytes:
    found = file_format(model.opened.manifest.files)
    return canonical(
        {
            "descriptor": {"name": model.name, "version": model.label},
            "config": {"format": found} if found else {},
            "modelfs": {"type": "layers", "diffIds": [each.diff_id for each in layers]},
        }
    )


def _layer(model: Model, each: PlacedLayer) -> Descriptor:
    squeezed = "+zstd" if each.descriptor.media_type.endswith("+zstd") else ""
    media_type = _LAYER_TYPE.format(_kind(each.files), squeezed)
    # Of several files that share a layer: the folder that they lie in.
    path = each.files[0].path if len(each.files) == 1 else ""
    notes = ((FILEPATH, file_path(model.name, model.label, path).rstrip("/")),)
    return Descriptor(each.descriptor.digest, each.descriptor.size, media_type, notes)


def _kind(files: tuple[FileEntry, ...]) -> str:
    """What the files are, together: weights if any of them is."""
    kinds = [file_kind(each.path) for each in files]
    return next((kind for kind in ("weight", "weight.config", "code", "doc") if kind in kinds), "weight.config")
