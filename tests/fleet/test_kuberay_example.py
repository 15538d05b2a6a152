"""The RayCluster of docs/fleet.md is one: its fields are those of KubeRay's ray.io/v1, and its pods are whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "fleet.md"


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object with no other fields."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEXT, COUNT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
# ray start takes texts only, numbers too.
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
MOUNT = closed(["name", "mountPath"], name=TEXT, mountPath={"type": "string", "pattern": "^/"})
CONTAINER = closed(
    ["name", "image"],
    name=TEXT,
    image=TEXT,
    env={"type": "array", "items": closed(["name", "value"], name=TEXT, value=TEXT)},
    resources=closed(["limits"], limits={"type": "object", "additionalProperties": TEXT}),
    volumeMounts={"type": "array", "items": MOUNT},
)
VOLUME = closed(["name", "hostPath"], name=TEXT, hostPath=closed(["path"], path=TEXT, type=TEXT))
POD = closed(
    ["containers"],
    containers={"type": "array", "minItems": 1, "items": CONTAINER},
    volumes={"type": "array", "items": VOLUME},
)
TEMPLATE = closed(["spec"], metadata={"type": "object"}, spec=POD)
WORKERS = closed(
    ["groupName", "minReplicas", "maxReplicas", "template"],
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=PARAMETERS,
    template=TEMPLATE,
)
SCHEMA = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=closed(["name"], name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}),
    spec=closed(
        ["headGroupSpec"],
        rayVersion=TEXT,
        headGroupSpec=closed(["template"], rayStartParams=PARAMETERS, template=TEMPLATE),
        workerGroupSpecs={"type": "array", "items": WORKERS},
    ),
)


def test_the_example_is_a_ray_cluster() -> None:
    yaml = pytest.importorskip("yaml")
    jsonschema = pytest.importorskip("jsonschema")
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    document = yaml.safe_load(text)
    jsonschema.validate(document, SCHEMA)
    for group in document["spec"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        assert {mount["name"] for each in pod["containers"] for mount in each.get("volumeMounts", [])} == volumes
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
