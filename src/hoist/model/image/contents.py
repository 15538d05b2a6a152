"""`image.json`: where the bytes of a version's files lie in the layers of an image. Pure.

    {"layers":[{"diff_id":"sha256:..","files":[{"path":PATH,"member":"models/..","size":N,"offset":N}]}]}

`path` is the file's in the version, `member` its name in the layer, `offset` where its first byte lies in the uncompressed
layer. Files that are symbolic links in the version are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hoist.errors import Damaged, InvalidReference
from hoist.model.image.tar import END, padding
from hoist.model.manifest import canonical, check_path
from hoist.model.reference import check_digest

FILE_NAME = "image.json"
MAX_CONTENTS_BYTES = 256 << 20
_LARGEST = 1 << 62


@dataclass(frozen=True, slots=True, order=True)
class PlacedFile:
    """A file of a version in a layer: see the module."""

    path: str
    member: str
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """A layer by its diff_id, and what it has of the version."""

    diff_id: str
    files: tuple[PlacedFile, ...]

    @property
    def least_bytes(self) -> int:
        """The layer has at least this size, uncompressed."""
        return max((file.offset + file.size + padding(file.size) for file in self.files), default=0) + len(END)


@dataclass(frozen=True)
class Contents:
    """All layers that hold files of one version."""

    layers: tuple[PlacedLayer, ...]

    @cached_property
    def by_path(self) -> Mapping[str, tuple[PlacedLayer, PlacedFile]]:
        """Where each file is."""
        return {file.path: (layer, file) for layer in self.layers for file in layer.files}

    def to_bytes(self) -> bytes:
        """The document's one encoding."""
        layers = [
            {
                "diff_id": layer.diff_id,
                "files": [
                    {"path": file.path, "member": file.member, "size": file.size, "offset": file.offset}
                    for file in layer.files
                ],
            }
            for layer in self.layers
        ]
        return canonical({"layers": layers})

    @staticmethod
    def parse(data: bytes) -> Contents:
        """Read the document. Raises Damaged for anything but a well-formed one."""
        if len(data) > MAX_CONTENTS_BYTES:
            raise Damaged(f"{FILE_NAME} is too large: {len(data)} bytes")
        try:
            layers = tuple(_layer(layer) for layer in json.loads(data)["layers"])
        except (ValueError, KeyError, TypeError, RecursionError, InvalidReference) as error:
            raise Damaged(f"{FILE_NAME} is malformed: {error!r}") from None
        found = Contents(layers)
        if len(found.by_path) != sum(len(layer.files) for layer in layers):
            raise Damaged(f"{FILE_NAME} has one file twice")
        return found


def _layer(layer: Any) -> PlacedLayer:
    return PlacedLayer(check_digest(layer["diff_id"]), tuple(_file(file) for file in layer["files"]))


def _file(file: Any) -> PlacedFile:
    size, offset = file["size"], file["offset"]
    for number in (size, offset):
        if type(number) is not int or not 0 <= number < _LARGEST:
            raise Damaged(f"{FILE_NAME} has an impossible size or offset: {number!r}")
    return PlacedFile(check_path(file["path"]), check_path(file["member"]), size, offset)
