"""What the tests of deploy share: a storage of each kind, a function, and the published schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from hoist.advise.facts import shipped
from hoist.config import StorageConfig
from hoist.deploy.fc import FunctionCompute
from hoist.deploy.fc_limits import limits_of
from hoist.deploy.fc_storage import Network
from hoist.deploy.source import Model, Source, source_of
from hoist.deploy.workload import Workload
from hoist.model.reference import parse_reference

SCHEMAS = Path(__file__).with_name("schemas")
LIMITS = limits_of(shipped())
IMAGE = "registry.example.com/sd:v5"
ROLE = "acs:ram::1234:role/sd"
ANYTHING = Model(None, parse_reference("sd15/anything:v5"))
PASTEL = Model("pastel", parse_reference("sd15/pastelmix@sha256:" + "5" * 64))
STORAGES = {
    "image": StorageConfig("images", "oci://registry.example.com/models"),
    "nas": StorageConfig("nas", "nfs://nas.example.com/export/models"),
    "oss": StorageConfig("oss", "oss://models/some/prefix", region="cn-hangzhou"),
    "accl": StorageConfig("fast-oss", "oss://models", region="cn-hangzhou", kind="accl"),
    "s3": StorageConfig(
        "s3", "s3://models/p", region="eu-central-1", endpoint="https://s3.example.com", path_style=True
    ),
}
NETWORKS = {
    "image": Network(),
    "nas": Network(vpc="vpc-1", vswitches=("vsw-1",), security_group="sg-1"),
    "oss": Network(role=ROLE),
    "accl": Network(role=ROLE),
    "s3": Network(role=ROLE),
}


def source(kind: str) -> Source:
    """The storage of a kind."""
    return source_of(STORAGES[kind], None)


def workload(kind: str, *models: Model, **more: Any) -> Workload:
    """A function with its models in a storage of a kind."""
    given = {"name": "anything", "handler": "app:Handler", "image": IMAGE} | more
    return Workload(models=models or (ANYTHING,), source=source(kind), **given)


def function_compute(kind: str, **more: Any) -> FunctionCompute:
    """What such a function asks of Function Compute."""
    return FunctionCompute(**{"region": "cn-hangzhou", "network": NETWORKS[kind], **more})


@cache
def schema(name: str) -> Mapping[str, Any]:
    """A published schema."""
    found: Mapping[str, Any] = json.loads((SCHEMAS / name).read_text())
    return found


@cache
def kubernetes_validator(definition: str) -> Draft202012Validator:
    """What checks one kind of object."""
    whole = schema("kubernetes-1.33.json")
    return Draft202012Validator({"$defs": whole["$defs"], "$ref": f"#/$defs/{definition}"})
