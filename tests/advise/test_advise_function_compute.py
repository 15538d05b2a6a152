"""An existing s.yaml of Function Compute: what is taken from it, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from advise_cases import GIB

from hoist.advise.function_compute import read_function
from hoist.advise.verb import advice
from hoist.config import Config
from hoist.errors import UsageError

WHOLE = """
edition: 3.0.0
name: sd
access: default
vars:
  region: cn-chengdu
resources:
  sd:
    component: fc3
    props:
      region: ${vars.region}
      functionName: sd
      runtime: custom-container
      cpu: 8
      memorySize: 32768
      diskSize: 10240
      gpuConfig:
        gpuType: fc.gpu.ada.1
        gpuMemorySize: 49152
      instanceLifecycleConfig:
        initializer:
          timeout: 300
      nasConfig:
        userId: 0
        groupId: 0
        mountPoints:
          - serverAddr: 0123.cn-chengdu.nas.aliyuncs.com:/models
            mountDir: /mnt/nas
      customContainerConfig:
        image: registry.example.com/sd:v1
      provisionConfig:
        target: 1
        alwaysAllocateGPU: false
        scheduledActions:
          - name: morning
            scheduleExpression: cron(0 0 8 * * *)
            target: 100
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def test_what_is_taken(tmp_path: Path) -> None:
    found = read_function(write(tmp_path, WHOLE))
    assert found.name == "sd"
    assert found.fields == {
        "regions": ("cn-chengdu",),
        "gpu": "ada",
        "gpu_memory": 48 * GIB,
        "memory": 32 * GIB,
        "vcpus": 8.0,
        "mode": "provisioned",
        "instances": 100,
        "deadline": 300.0,
    }
    assert found.mounts == ("nas",)
    assert found.notes == ()


def test_the_advice_goes_by_it_and_options_win(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    found = advice(s_yaml=path, size="40GiB", config=Config())
    assert (found.scenario.instances, found.scenario.deadline) == (100, 300)
    assert found.notes == ("the function mounts nas now",)
    assert found.winner.kind == "accl"
    fewer = advice(s_yaml=path, size="40GiB", scenario={"instances": "7", "deadline": "90s"}, deadline="100s")
    assert (fewer.scenario.instances, fewer.scenario.deadline) == (7, 100)


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ("{}", {"mode": "on-demand"}),
        ("{target: 3}", {"mode": "idle", "instances": 3}),
        ("{defaultTarget: 2, alwaysAllocateGPU: true}", {"mode": "provisioned", "instances": 2}),
        (
            "{target: 1, targetTrackingPolicies: [{name: gpu, minCapacity: 1, maxCapacity: 40}]}",
            {"mode": "provisioned", "instances": 40},
        ),
        ("{scheduledActions: [{target: ${vars.most}}]}", {"mode": "provisioned"}),
    ],
)
def test_the_usage_mode_is_read_from_the_provisioning(tmp_path: Path, config: str, fields: dict[str, object]) -> None:
    text = f"resources: {{sd: {{component: fc3, props: {{provisionConfig: {config}}}}}}}".replace(
        "${vars.most}", "'${x}'"
    )
    assert read_function(write(tmp_path, text)).fields == fields


@pytest.mark.parametrize("component", ["fc", "devsapp/fc", "fc@2.0.0"])
def test_older_versions_are_named_and_not_guessed(tmp_path: Path, component: str) -> None:
    text = f"services: {{sd: {{component: {component}, props: {{region: cn-beijing, service: {{nasConfig: auto}}}}}}}}"
    found = read_function(write(tmp_path, text))
    assert found.fields == {"regions": ("cn-beijing",)}
    assert found.mounts == ()
    (note,) = found.notes
    assert f"component {component} is not fc3: it is of version 1 or 2" in note


def test_unknown_fields_are_named(tmp_path: Path) -> None:
    text = "resources: {sd: {component: fc3, props: {nasConfg: {}, gpuConfig: {gpuType: fc.gpu.hopper.1}}}}"
    notes = read_function(write(tmp_path, text)).notes
    assert "field nasConfg is not of FC 3.0 as it is known here (nasConfig?)" in notes[0]
    assert "price of gpuType fc.gpu.hopper.1 is not known" in notes[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("- 1", "not an s.yaml"),
        ("", "not an s.yaml"),
        ("name: x", "it has no resources"),
        ("resources: {a: {component: fc3}}", "resource 'a' has no props"),
        ("resources: {a: {component: fc3, props: {}}, b: {component: fc3, props: {}}}", "several functions (a, b)"),
        ("resources: {a: !!python/object:os.system {}}", "not YAML"),
        ("\x00", "not YAML"),
    ],
)
def test_what_is_no_s_yaml(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_function(write(tmp_path, text))
    assert said in str(caught.value)


def test_one_of_several(tmp_path: Path) -> None:
    path = write(tmp_path, "resources: {a: {component: fc3, props: {cpu: 2}}, b: {component: fc3, props: {cpu: 4}}}")
    assert read_function(path, "b").fields["vcpus"] == 4
    with pytest.raises(UsageError, match="there is no resource 'c'; there are a, b"):
        read_function(path, "c")
    with pytest.raises(UsageError, match="gone"):
        read_function(tmp_path / "gone.yaml")
