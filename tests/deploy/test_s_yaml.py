"""A user's s.yaml: what has one mend is mended, the rest is named, and every other line stays as it is."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import yaml
from deployments import ANYTHING, LIMITS, NETWORKS, source
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.deploy.fc_lead import lead
from hoist.deploy.fc_limits import known_fields
from hoist.deploy.fc_storage import Network
from hoist.deploy.s_yaml import Corrected, correct
from hoist.errors import UsageError

MINE = """\
edition: 3.0.0   # the format
name:   "my-app"

vars:
    region: 'cn-hangzhou'

resources:
    # the painter
    painter:
        component: devsapp/fc3
        actions:
            pre-deploy:
            -   run: "echo hi"
        props:
            region: cn-hangzhou
            functionName: "painter"
            runtime: custom-container   # image
            memorySize: 40000  # a lot
            diskSize:   2048


            timeout: 0x10
            gpuConfig: { gpuType: fc.gpu.ada.1, gpuMemorySize: 49152 }
            role: ${vars.role}
            customContainerConfig:
                image: a:b
                command: ["hoist", "serve", "app:H", "--models", "nas//a:b", "--device", cuda]
                healthCheckConfig:
                    initialDelaySeconds: 30
                    periodSeconds: 10
                    failureThreshold: 40   # be patient
            ossMountConfig:
                mountPoints:
                -   bucketName: b
                    endpoint: http://oss-cn-hangzhou.aliyuncs.com
                    mountDir: /mnt/b
            instanceLifecycleConfig:
                initializer:
                    timeout: 600
                preStop: {timeout: 100}
            # the end of the painter
"""
CHANGED = [
    "memorySize: 40000",
    "diskSize:   2048",
    "failureThreshold: 40",
    "endpoint: http",
    "timeout: 600",
    "timeout: 100",
]


def painter(found: Corrected) -> Any:
    """The function after the correction."""
    return yaml.safe_load(found.after)["resources"]["painter"]["props"]


def levels(found: Corrected, level: str) -> list[str]:
    """Where something of a level was found, from the props on."""
    return [each.where.partition(".props.")[2] or each.where for each in found.findings if each.level == level]


def function(**props: Any) -> str:
    """An s.yaml of one function."""
    base = {"region": "cn-hangzhou", "functionName": "f", "runtime": "custom-container"}
    return str(yaml.safe_dump({"edition": "3.0.0", "resources": {"f": {"component": "fc3", "props": base | props}}}))


def test_what_passes_a_limit_is_corrected_and_every_other_line_stays() -> None:
    found = correct(MINE, "s.yaml", LIMITS)
    assert found.holds
    props = painter(found)
    assert (props["memorySize"], props["diskSize"]) == (32768, 10240)
    assert props["instanceLifecycleConfig"] == {"initializer": {"timeout": 300}, "preStop": {"timeout": 90}}
    assert props["customContainerConfig"]["healthCheckConfig"]["failureThreshold"] == 9
    assert props["ossMountConfig"]["mountPoints"][0]["endpoint"] == "http://oss-cn-hangzhou-internal.aliyuncs.com"
    after = found.after.splitlines()
    gone = [line.strip() for line in MINE.splitlines() if line not in after]
    assert len(after) == len(MINE.splitlines())
    assert len(gone) == len(CHANGED)
    assert all(any(line.removeprefix("preStop: {").startswith(each) for each in CHANGED) for line in gone), gone
    assert "# be patient" in found.after
    assert "# a lot" in found.after


def test_the_difference_is_unified_and_a_corrected_file_is_left_alone() -> None:
    found = correct(MINE, "s.yaml", LIMITS)
    difference = found.difference()
    assert difference.startswith("--- s.yaml\n+++ s.yaml (corrected)\n@@ ")
    assert "-            diskSize:   2048\n" in difference
    again = correct(found.after, "s.yaml", LIMITS)
    assert (again.after, again.difference()) == (found.after, "")


def test_led_to_a_storage() -> None:
    leading = partial(lead, source=source("oss"), models=[ANYTHING], network=Network(), limits=LIMITS)
    found = correct(MINE, "s.yaml", LIMITS, lead=leading)
    props = painter(found)
    assert [each["bucketName"] for each in props["ossMountConfig"]["mountPoints"]] == ["b", "models"]
    assert props["environmentVariables"]["HOIST_STORAGE_OSS_URL"] == "oss://models/some/prefix"
    assert props["customContainerConfig"]["command"][3:] == ["--models", "oss//sd15/anything:v5", "--device", "cuda"]
    assert props["role"] == "${vars.role}"
    assert found.holds
    again = correct(found.after, "s.yaml", LIMITS, lead=leading)
    assert again.after == found.after


def test_led_to_a_nas_with_the_network_that_is_there() -> None:
    vpc = {"vpcId": "vpc-9", "vSwitchIds": ["vsw-9"], "securityGroupId": "sg-9"}
    leading = partial(lead, source=source("nas"), models=[ANYTHING], network=Network(), limits=LIMITS)
    text = function(
        vpcConfig=vpc,
        customContainerConfig={"image": "x", "entrypoint": ["/usr/bin/hoist"], "command": ["serve", "a:b"]},
    )
    found = correct(text, "s.yaml", LIMITS, lead=leading)
    props = yaml.safe_load(found.after)["resources"]["f"]["props"]
    assert props["vpcConfig"] == vpc
    assert props["nasConfig"]["mountPoints"][0]["serverAddr"] == "nas.example.com:/export/models"
    assert props["customContainerConfig"]["healthCheckConfig"]["httpGetUrl"] == "/healthz"
    assert set(props["instanceLifecycleConfig"]) == {"initializer", "preStop"}
    with pytest.raises(UsageError, match="--vpc"):
        correct(function(), "s.yaml", LIMITS, lead=leading)


def test_another_command_is_not_touched_but_told_what_to_read() -> None:
    leading = partial(lead, source=source("oss"), models=[ANYTHING], network=NETWORKS["oss"], limits=LIMITS)
    text = function(customContainerConfig={"image": "x", "command": ["python", "app.py"]})
    found = correct(text, "s.yaml", LIMITS, lead=leading)
    assert yaml.safe_load(found.after)["resources"]["f"]["props"]["customContainerConfig"]["command"] == [
        "python",
        "app.py",
    ]
    assert [each.text for each in found.findings if each.level == "note"] == [
        "the command is not hoist serve: have it read oss//sd15/anything:v5"
    ]


def test_versions_1_and_2_are_kept_as_they_are_and_named() -> None:
    service = "component: devsapp/fc\n      props: {service: {name: x, nasConfig: auto}}\n"
    old = f"edition: 1.0.0\nservices:\n   x:\n      {service}"
    found = correct(old, "s.yaml", LIMITS)
    assert found.after == old
    assert found.holds
    assert [each.level for each in found.findings] == ["kept", "kept"]
    assert "s2tos3" in str(found.findings[0])
    assert "FC 2.0" in str(found.findings[1])
    with pytest.raises(UsageError, match="s2tos3"):
        correct(old, "s.yaml", LIMITS, lead=lambda props, where: [])


def test_unknown_fields_are_kept_and_named() -> None:
    mount = {"bucketName": "b", "endpoint": "e", "mountDir": "/m", "cached": True}
    text = function(nasConfg="auto", role="r", ossMountConfig={"mountPoints": [mount]}) + "colour: red\n"
    found = correct(text, "s.yaml", LIMITS)
    assert found.after == text
    assert set(levels(found, "kept")) == {"colour", "ossMountConfig.mountPoints[0].cached", "nasConfg"}
    assert any("did you mean nasConfig?" in each.text for each in found.findings)


def nas_points(*folders: str) -> dict[str, Any]:
    points = [{"serverAddr": f"n:/{at}", "mountDir": folder, "enableTLS": False} for at, folder in enumerate(folders)]
    return {"nasConfig": {"userId": 0, "groupId": 0, "mountPoints": points}, "vpcConfig": "auto"}


def oss_points(*folders: str) -> dict[str, Any]:
    points = [
        {"bucketName": f"b{at}", "endpoint": "https://e", "mountDir": folder} for at, folder in enumerate(folders)
    ]
    return {"ossMountConfig": {"mountPoints": points}, "role": "r"}


@pytest.mark.parametrize(
    ("props", "where"),
    [
        (nas_points(*(f"/mnt/{at}" for at in range(6))), "nasConfig.mountPoints"),
        (oss_points(*(f"/mnt/{at}" for at in range(6))), "ossMountConfig.mountPoints"),
        (oss_points("/mnt/a", "/mnt/a"), "ossMountConfig.mountPoints[1].mountDir"),
        (oss_points("/mnt/a/b", "/mnt/a/"), "ossMountConfig.mountPoints[1].mountDir"),
        (oss_points("/mnt/a") | nas_points("/mnt"), "ossMountConfig.mountPoints[0].mountDir"),
        (oss_points("/mnt/a", "mnt/b"), "ossMountConfig.mountPoints[1].mountDir"),
        (nas_points("/"), "nasConfig.mountPoints[0].mountDir"),
        (nas_points("/mnt") | {"vpcConfig": None}, "vpcConfig"),
        (oss_points("/mnt") | {"role": ""}, "role"),
        (
            {"environmentVariables": {"OSS_ACCESS_KEY_SECRET": "hunter2hunter2"}},
            "environmentVariables.OSS_ACCESS_KEY_SECRET",
        ),
        ({"gpuConfig": {"gpuType": "fc.gpu.ada.1"}, "runtime": "python3.10"}, "runtime"),
    ],
)
def test_what_only_the_user_can_mend_is_named(props: dict[str, Any], where: str) -> None:
    text = function(**props)
    found = correct(text, "s.yaml", LIMITS)
    assert not found.holds
    assert levels(found, "wrong") == [where]
    assert found.after == text
    assert "hunter2" not in "".join(map(str, found.findings))


@pytest.mark.parametrize(
    "props", [nas_points(*(f"/mnt/{at}" for at in range(5))) | oss_points(*(f"/oss/{at}" for at in range(5)))]
)
def test_five_of_each_are_well(props: dict[str, Any]) -> None:
    assert correct(function(**props), "s.yaml", LIMITS).findings == ()


def test_the_size_of_an_image() -> None:
    text = function(customContainerConfig={"image": "x"})
    assert correct(text, "s.yaml", LIMITS, image_size=15 * 10**9).holds
    assert levels(correct(text, "s.yaml", LIMITS, image_size=15 * 10**9 + 1), "wrong") == [
        "customContainerConfig.image"
    ]


def test_variables_and_shorthands_are_nobodys_to_judge() -> None:
    text = function(
        memorySize="${vars.memory}",
        diskSize="${env('DISK')}",
        nasConfig="auto",
        vpcConfig="auto",
        role="${vars.role}",
        instanceLifecycleConfig={"initializer": {"timeout": "${vars.t}"}},
        ossMountConfig={"mountPoints": [{"bucketName": "${b}", "endpoint": "${e}", "mountDir": "${m}"}]},
    )
    found = correct(text, "s.yaml", LIMITS)
    assert (found.after, found.findings) == (text, ())


@pytest.mark.parametrize(
    "text", ["", "- a\n", "just text\n", "a: [\n", "a: 1\na: 2\n", "x: !!python/object:os.system {}\n"]
)
def test_what_is_no_s_yaml(text: str) -> None:
    try:
        found = correct(text, "s.yaml", LIMITS)
    except UsageError as error:
        assert "s.yaml" in str(error)
    else:
        assert found.after == text


def test_several_functions() -> None:
    two = MINE + MINE.partition("resources:\n")[2].replace("painter", "second")
    leading = partial(lead, source=source("oss"), models=[ANYTHING], network=Network(), limits=LIMITS)
    with pytest.raises(UsageError, match="painter, second"):
        correct(two, "s.yaml", LIMITS, lead=leading)
    with pytest.raises(UsageError, match="no function 'third'"):
        correct(two, "s.yaml", LIMITS, lead=leading, resource="third")
    resources = yaml.safe_load(correct(two, "s.yaml", LIMITS, lead=leading, resource="second").after)["resources"]
    assert "environmentVariables" in resources["second"]["props"]
    assert "environmentVariables" not in resources["painter"]["props"]
    assert resources["painter"]["props"]["memorySize"] == 32768


def test_line_ends_and_a_missing_one_stay() -> None:
    text = MINE.replace("\n", "\r\n")
    found = correct(text, "s.yaml", LIMITS)
    assert found.after == correct(MINE, "s.yaml", LIMITS).after.replace("\n", "\r\n")
    text = function(memorySize=100).removesuffix("\n")
    leading = partial(lead, source=source("oss"), models=[ANYTHING], network=NETWORKS["oss"], limits=LIMITS)
    props = yaml.safe_load(correct(text, "s.yaml", LIMITS, lead=leading).after)["resources"]["f"]["props"]
    assert (props["memorySize"], "ossMountConfig" in props) == (128, True)


_NAMES = st.sampled_from(sorted({name for names in known_fields().values() for name in names}))
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**6),
    st.floats(),
    st.sampled_from(["", "auto", "/mnt", "${v}", "hoist"]),
)
_ANYTHING = st.recursive(
    _LEAVES,
    lambda each: st.one_of(st.lists(each, max_size=3), st.dictionaries(_NAMES, each, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from(known_fields()[""]), _ANYTHING, max_size=6), st.booleans())
def test_whatever_stands_in_a_file_it_is_corrected_once_or_refused(props: dict[str, Any], led: bool) -> None:
    text = function(**props)
    leading = (
        partial(lead, source=source("oss"), models=[ANYTHING], network=NETWORKS["oss"], limits=LIMITS) if led else None
    )
    try:
        found = correct(text, "s.yaml", LIMITS, lead=leading)
    except UsageError:
        return
    again = correct(found.after, "s.yaml", LIMITS, lead=leading)
    assert again.after == found.after
    assert not [each for each in again.findings if each.level == "corrected"]


def test_an_alias_that_holds_itself_hangs_nothing() -> None:
    loop = "x: &x\n  y: *x\n"
    found = correct(function(memorySize=100) + loop, "s.yaml", LIMITS)
    assert found.after.endswith(loop)
    assert "memorySize: 128" in found.after
