"""Which layers the versions of a model have already, so that a new version of it keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from hoist.errors import HoistError
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.layers import HeldLayer, held_layers
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.storage.base import Version

if TYPE_CHECKING:
    from hoist.storage.image.storage import ImageStorage

# The last ones by label: an old version has little that a newer one has not.
_MOST_VERSIONS = 16


class Holders:
    """The layers of the other versions of a version's model; looked up once, when first asked for."""

    def __init__(self, storage: ImageStorage, version: Version) -> None:
        self._storage = storage
        self._version = version
        self._lock = Lock()
        self._found: tuple[Sequence[HeldLayer], Mapping[str, Descriptor]] | None = None

    @property
    def layers(self) -> Sequence[HeldLayer]:
        """The layers, each once."""
        return self._look()[0]

    def descriptor(self, diff_id: str) -> Descriptor:
        """How an image names one of them."""
        return self._look()[1][diff_id]

    def _look(self) -> tuple[Sequence[HeldLayer], Mapping[str, Descriptor]]:
        with self._lock:
            if self._found is None:
                labels = [label for label in self._storage.labels(self._version.name) if label != self._version.label]
                versions = [Version(self._version.name, label) for label in labels[::-1][:_MOST_VERSIONS]]
                pairs = [pair for each in for_each(self._layers_of, versions, SMALL_AT_ONCE) for pair in each]
                known = {layer.diff_id: layer for layer, _ in reversed(pairs)}
                self._found = list(known.values()), {layer.diff_id: each for layer, each in pairs}
            return self._found

    def _layers_of(self, version: Version) -> list[tuple[HeldLayer, Descriptor]]:
        """What a version has; nothing of one that cannot be read."""
        try:
            image, held = self._storage.look_up(version)
            documents = image.documents(held)
            layers = held_layers(documents.contents, documents.manifest)
            return [(layer, image.layer(layer.diff_id)) for layer in layers]
        except HoistError:
            return []
