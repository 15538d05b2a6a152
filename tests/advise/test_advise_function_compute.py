"""An existing s.yaml of Function Compute: what is taken from it, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from advise_cases import GIB
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoist.advise.facts import shipped
from hoist.advise.function_compute import read_function
from hoist.advise.scenario import make_scenario
from hoist.advise.storages import candidates
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


NAMES = (
    "target",
    "defaultTarget",
    "scheduledActions",
    "timeout",
    "mountPoints",
    "gpuType",
    "gpuMemorySize",
    "initializer",
)
# Nine levels of nine: little text, and a third of a thousand million values.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
BOMB += "resources: {a: {component: fc3, props: {tags: *a9}}}\n"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


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
    assert found.notes == ("The function mounts nas now",)
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
        ("resources: {a: {component: fc3, props: &x {tags: *x}}}", "it holds itself"),
        (BOMB, "its anchors stand for more than 100,000 values"),
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


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    props=st.dictionaries(
        st.sampled_from(["region", "cpu", "memorySize", "gpuConfig", "provisionConfig", "nasConfig", "x"])
        | st.just("instanceLifecycleConfig"),
        VALUES,
        max_size=5,
    )
)
def test_whatever_stands_in_the_fields_it_is_a_case_or_is_refused(tmp_path: Path, props: dict[str, object]) -> None:
    """JSON is YAML: fields of any shape give a scenario with storages to choose among, or a UsageError."""
    path = write(tmp_path, json.dumps({"resources": {"a": {"component": "fc3", "props": props}}}))
    try:
        found = make_scenario({"size": GIB, **read_function(path).fields}, shipped())
    except UsageError:
        return
    assert len(candidates(shipped(), found)) == 4
    assert found.instances >= 1
