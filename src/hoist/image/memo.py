"""What this host knows of layers that it has made: which files make a layer of which digest.

A layer depends on its members' paths, sizes and contents alone. Who knows its digest need not read the files to see that a
registry has it. A note that is missing costs reading; one that is wrong is found out when the layer is sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from blake3 import blake3

from hoist.errors import InvalidReference
from hoist.model.image.layers import Layer
from hoist.model.manifest import FileEntry
from hoist.model.reference import check_digest

_FORMAT = "1"


@dataclass(frozen=True, slots=True)
class Known:
    """A layer as it is sent: digest and size; and its diff_id, which is the digest if it is not compressed."""

    digest: str
    size: int
    diff_id: str


class Memo:
    """The notes in a folder of this host; None keeps none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def recall(self, layer: Layer, files: Sequence[FileEntry], how: str) -> Known | None:
        """What is known of a layer, compressed as `how` says."""
        if self._folder is None:
            return None
        try:
            found = json.loads((self._folder / _name(layer, files, how)).read_bytes())
            known = Known(check_digest(found["digest"]), int(found["size"]), check_digest(found["diff_id"]))
        except (OSError, ValueError, TypeError, KeyError, InvalidReference):
            return None
        return known if how or known.size == layer.size else None

    def note(self, layer: Layer, files: Sequence[FileEntry], how: str, known: Known) -> None:
        """Remember a layer that was made."""
        if self._folder is None:
            return
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = self._folder / uuid4().hex
            made.write_text(json.dumps(asdict(known)))
            made.replace(self._folder / _name(layer, files, how))

    def forget(self, layer: Layer, files: Sequence[FileEntry], how: str) -> None:
        """It was wrong."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / _name(layer, files, how)).unlink()


def _name(layer: Layer, files: Sequence[FileEntry], how: str) -> str:
    members = [[member.kind, member.path, member.size, member.link] for member in layer.members]
    contents = [[entry.path, entry.size, entry.digest] for entry in files]
    return blake3(json.dumps([_FORMAT, how, members, contents]).encode()).hexdigest()
