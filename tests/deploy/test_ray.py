"""A Serve config holds by Ray's own schema, and says what `hoist.integrations.ray_serve` takes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import ANYTHING, PASTEL, STORAGES, schema, workload
from jsonschema import Draft202012Validator

from hoist.deploy.ray import APPLICATION, Serving, serve_config
from hoist.deploy.yaml_text import render
from hoist.errors import UsageError


def config(kind: str, *models: Any, **more: Any) -> tuple[str, Any]:
    """The file, and what it says."""
    text = render([serve_config(workload(kind, *models, image="none"), Serving(**more))])
    return text, yaml.safe_load(text)


@pytest.mark.parametrize("kind", STORAGES)
def test_it_holds_by_ray_s_schema(kind: str) -> None:
    _, found = config(kind, ANYTHING, PASTEL)
    errors = list(Draft202012Validator(dict(schema("ray-serve-2.60.json"))).iter_errors(found))
    assert not errors, errors[0]
    (application,) = found["applications"]
    assert application["import_path"] == APPLICATION
    assert set(application["args"]["models"]) == {"anything", "pastel"}


def test_the_nodes_are_told_of_the_storage() -> None:
    application = config("oss")[1]["applications"][0]
    assert application["runtime_env"]["env_vars"] == {
        "HOIST_CACHE": "/var/cache/hoist",
        "HOIST_STORAGE_OSS_REGION": "cn-hangzhou",
        "HOIST_STORAGE_OSS_URL": "oss://models/some/prefix",
    }
    assert application["args"]["models"] == {"anything": "oss//sd15/anything:v5"}
    application = config("nas", nas_folder="/mnt/models", cache=None)[1]["applications"][0]
    assert "runtime_env" not in application
    assert application["args"]["models"] == {"anything": "/mnt/models//sd15/anything:v5"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"least": 3, "most": 2}, "--min 3"),
        ({"most": 0, "least": 0}, "--max 0"),
        ({"gpus": -1}, "--gpus"),
        ({"route": "x"}, "--route"),
    ],
)
def test_what_means_nothing(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as told:
        config("oss", **more)
    assert said in str(told.value)


def test_two_models_of_one_name() -> None:
    with pytest.raises(UsageError, match="NAME=LOCATION"):
        config("oss", ANYTHING, ANYTHING)


READ = """
import sys, yaml
from ray.serve.schema import ServeDeploySchema
found = ServeDeploySchema.model_validate(yaml.safe_load(open(sys.argv[1])))
from hoist.integrations.ray_serve import application
application(found.applications[0].args)
"""


def test_ray_and_the_integration_take_it(tmp_path: Path) -> None:
    if find_spec("grpc") is None or find_spec("hoist.integrations") is None:
        pytest.skip("needs ray[serve] and hoist.integrations.ray_serve")
    file = tmp_path / "serve.yaml"
    file.write_text(config("oss", ANYTHING, PASTEL)[0])
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    words = [sys.executable, "-W", "ignore", "-c", READ, str(file)]
    ended = subprocess.run(words, env=env, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
