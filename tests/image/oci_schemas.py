"""The OCI image specification's own JSON schemas, as Debian ships them, and what ModelPack asks of its documents."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

PACKAGE = "golang-github-opencontainers-image-spec-dev"
FOLDER = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")
_FILES = {
    "index": "image-index-schema.json",
    "manifest": "image-manifest-schema.json",
    "config": "config-schema.json",
    "descriptor": "content-descriptor.json",
    "layout": "image-layout-schema.json",
}
_DIGEST = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_MODEL_LAYER = (
    r"^application/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.(raw|tar(\+gzip|\+zstd)?)$"
)
# From the text of ModelPack's specification, as its schemas are in no package.
_MODELPACK: dict[str, dict[str, Any]] = {
    "modelpack config": {
        "type": "object",
        "required": ["descriptor", "config", "modelfs"],
        "additionalProperties": False,
        "properties": {
            "descriptor": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    **{key: {"type": "string"} for key in ("family", "version", "title", "vendor", "revision")},
                    **{key: {"type": "string"} for key in ("description", "docURL", "sourceURL")},
                    **dict.fromkeys(("authors", "licenses", "datasetsURL"), _TEXTS),
                    "createdAt": {"type": "string", "format": "date-time"},
                    "name": {"type": "string", "minLength": 1},
                },
            },
            "config": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    key: {"type": "string"}
                    for key in ("architecture", "format", "paramSize", "precision", "quantization")
                },
            },
            "modelfs": {
                "type": "object",
                "required": ["type", "diffIds"],
                "additionalProperties": False,
                "properties": {
                    "type": {"type": "string", "enum": ["layers"]},
                    "diffIds": {"type": "array", "minItems": 1, "items": _DIGEST},
                },
            },
        },
    },
    "modelpack manifest": {
        "type": "object",
        "required": ["mediaType", "artifactType", "config", "layers"],
        "properties": {
            "mediaType": {"enum": ["application/vnd.oci.image.manifest.v1+json"]},
            "artifactType": {"enum": ["application/vnd.cncf.model.manifest.v1+json"]},
            "config": {"properties": {"mediaType": {"enum": ["application/vnd.cncf.model.config.v1+json"]}}},
            "layers": {
                "minItems": 1,
                "items": {
                    "anyOf": [
                        {
                            "required": ["annotations"],
                            "properties": {
                                "mediaType": {"type": "string", "pattern": _MODEL_LAYER},
                                "annotations": {
                                    "required": ["org.cncf.model.filepath"],
                                    "properties": {"org.cncf.model.filepath": {"type": "string", "minLength": 1}},
                                },
                            },
                        },
                        # Other kinds of layers are allowed, and this is Hoist's.
                        {"properties": {"mediaType": {"enum": ["application/vnd.hoist.blocks.v1.raw"]}}},
                    ]
                },
            },
        },
    },
}  # fmt: skip


class Schemas:
    """Validates documents; `check` raises jsonschema's error for one that does not conform."""

    def __init__(self) -> None:
        # Their references are relative to identifiers under which nothing is served: a file is known by its name.
        registry: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]
        found = {kind: json.loads((FOLDER / name).read_text()) for kind, name in _FILES.items()}
        self._validators = {
            kind: Draft4Validator(schema, registry=registry, format_checker=FormatChecker())
            for kind, schema in {**found, **_MODELPACK}.items()
        }
        self.checked = dict.fromkeys(self._validators, 0)

    def check(self, kind: str, document: Mapping[str, Any]) -> None:
        """Validate one document."""
        self._validators[kind].validate(document)
        self.checked[kind] += 1

    def check_manifest(self, document: Mapping[str, Any]) -> None:
        """A manifest or an index, with every descriptor in it; a ModelPack one by ModelPack's rules too."""
        kind = "index" if "manifests" in document else "manifest"
        self.check(kind, document)
        named = document["manifests"] if kind == "index" else [document["config"], *document["layers"]]
        for each in (*named, *([document["subject"]] if "subject" in document else [])):
            self.check("descriptor", each)
        if "cncf.model" in document.get("artifactType", ""):
            self.check("modelpack manifest", document)


def need_schemas() -> Schemas:
    """The schemas; where they are not installed, a skip on a laptop and a failure in CI."""
    if not FOLDER.is_dir():
        reason = f"no OCI schemas: apt-get install -y --no-install-recommends {PACKAGE}"
        if os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Schemas()


def _retrieve(uri: str) -> Resource[Any]:
    name = re.sub(r".*/", "", uri)
    assert name.endswith(".json"), uri
    return Resource.from_contents(json.loads((FOLDER / name).read_text()), default_specification=DRAFT4)
