"""An s.yaml for each storage: what Function Compute takes, what `hoist serve` answers, and refusals with their mends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import ANYTHING, LIMITS, NETWORKS, PASTEL, ROLE, STORAGES, function_compute, source, workload

from hoist.advise.function_compute import read_function
from hoist.config import StorageConfig
from hoist.deploy.fc import region_of, s_yaml
from hoist.deploy.fc_rules import check
from hoist.deploy.fc_schedule import make_schedule
from hoist.deploy.fc_storage import Network
from hoist.deploy.source import source_of
from hoist.deploy.workload import Workload
from hoist.deploy.yaml_text import render
from hoist.errors import UsageError


def written(kind: str, *models: Any, function: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The file, read again as YAML 1.1 by another library."""
    document = s_yaml(workload(kind, *models, **function or {}), function_compute(kind, **more), LIMITS)
    found = yaml.safe_load(render([document]))
    assert found == document.data
    assert isinstance(found, dict)
    return found


def props(kind: str, *models: Any, **more: Any) -> Any:
    """The function in it."""
    return written(kind, *models, **more)["resources"]["anything"]["props"]


@pytest.mark.parametrize("kind", STORAGES)
def test_every_field_is_one_of_fc_3(kind: str) -> None:
    document = written(kind)
    assert (document["edition"], document["resources"]["anything"]["component"]) == ("3.0.0", "fc3")
    found = document["resources"]["anything"]["props"]
    assert {finding.level for finding in check(found, "props", LIMITS)} <= {"note"}
    assert {"region", "functionName", "runtime", "customContainerConfig"} <= set(found)


@pytest.mark.parametrize("kind", STORAGES)
def test_the_advisor_reads_it(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    schedule = make_schedule("idle", 2, [], "Asia/Shanghai")
    file.write_text(render([s_yaml(workload(kind), function_compute(kind, schedule=schedule), LIMITS)]))
    found = read_function(file)
    assert (found.name, found.fields["mode"], found.fields["regions"]) == ("anything", "idle", ("cn-hangzhou",))
    assert not [note for note in found.notes if "unknown" in note]


@pytest.mark.parametrize("kind", STORAGES)
def test_it_listens_first_and_loads_in_the_initializer(kind: str) -> None:
    found = props(kind)
    container = found["customContainerConfig"]
    assert (container["port"], container["entrypoint"], container["command"][0]) == (9000, ["hoist"], "serve")
    health = container["healthCheckConfig"]
    assert health["httpGetUrl"] == "/healthz"
    assert health["initialDelaySeconds"] + health["periodSeconds"] * health["failureThreshold"] <= 120
    hooks = found["instanceLifecycleConfig"]
    assert (hooks["initializer"]["timeout"], hooks["preStop"]["timeout"]) == (300, 90)


def test_nas() -> None:
    found = props("nas")
    assert found["nasConfig"]["mountPoints"] == [
        {"serverAddr": "nas.example.com:/export/models", "mountDir": "/mnt/models", "enableTLS": False}
    ]
    assert found["vpcConfig"] == {"vpcId": "vpc-1", "vSwitchIds": ["vsw-1"], "securityGroupId": "sg-1"}
    assert "/mnt/models//sd15/anything:v5" in found["customContainerConfig"]["command"]
    assert "environmentVariables" not in found


def test_oss() -> None:
    found = props("oss", ANYTHING, PASTEL)
    assert found["ossMountConfig"]["mountPoints"] == [
        {
            "bucketName": "models",
            "bucketPath": "/some/prefix",
            "endpoint": "https://oss-cn-hangzhou-internal.aliyuncs.com",
            "mountDir": "/mnt/models",
            "readOnly": True,
        }
    ]
    assert found["role"] == ROLE
    assert found["environmentVariables"]["HOIST_STORAGE_OSS_URL"] == "oss://models/some/prefix"
    command = found["customContainerConfig"]["command"]
    assert command[command.index("--models") + 1 :][:2] == ["oss//sd15/anything:v5", f"pastel=oss//{PASTEL.reference}"]
    assert "ossMountConfig" not in props("oss", network=Network(role=ROLE, mount=False))


def test_accelerator_of_the_vendor() -> None:
    found = props("accl")
    assert (
        found["ossMountConfig"]["mountPoints"][0]["endpoint"]
        == "https://cn-hangzhou-internal.oss-data-acc.aliyuncs.com"
    )
    assert "/mnt/models//sd15/anything:v5" in found["customContainerConfig"]["command"]
    own = replace(
        NETWORKS["accl"], accelerator_endpoint="cn-hangzhou-j-internal.oss-data-acc.aliyuncs.com", mount=False
    )
    env = props("accl", network=own)["environmentVariables"]
    assert env["HOIST_STORAGE_FAST_OSS_ENDPOINT"] == "https://cn-hangzhou-j-internal.oss-data-acc.aliyuncs.com"
    assert env["HOIST_STORAGE_FAST_OSS_KIND"] == "accl"


def test_accelerator_of_hoist() -> None:
    config = replace(STORAGES["oss"], accelerator=("http://10.0.0.7:8080", "http://10.0.0.8:8080"))
    made = Workload("anything", (ANYTHING,), source_of(config, None), "app:Handler", "r.example.com/sd:v5")
    network = replace(NETWORKS["oss"], vpc="vpc-1", vswitches=("vsw-1",), security_group="sg-1")
    found = s_yaml(made, function_compute("oss", network=network), LIMITS).data["resources"]["anything"]["props"]
    assert found["environmentVariables"]["HOIST_STORAGE_OSS_ACCELERATOR"] == "http://10.0.0.7:8080,http://10.0.0.8:8080"
    assert found["vpcConfig"]["vpcId"] == "vpc-1"
    assert "oss//sd15/anything:v5" in found["customContainerConfig"]["command"]


def test_image() -> None:
    found = props("image")
    assert "/models//sd15/anything:v5" in found["customContainerConfig"]["command"]
    assert not {"nasConfig", "ossMountConfig", "vpcConfig", "role"} & set(found)


def test_modes() -> None:
    assert "provisionConfig" not in props("image")
    idle = props("image", schedule=make_schedule("idle", 2, [], "Asia/Shanghai"))["provisionConfig"]
    assert (idle["defaultTarget"], idle["alwaysAllocateGPU"], idle["scheduledActions"]) == (2, False, [])
    planned = make_schedule(None, None, ["cron(0 0 20 * * *)=10", "cron(0 0 22 * * *)=0"], "Asia/Shanghai")
    found = props("image", schedule=planned)["provisionConfig"]
    assert found["alwaysAllocateGPU"] is True
    assert [(each["scheduleExpression"], each["target"]) for each in found["scheduledActions"]] == [
        ("cron(0 0 20 * * *)", 10),
        ("cron(0 0 22 * * *)", 0),
    ]


@pytest.mark.parametrize(
    ("mode", "minimum", "actions", "said"),
    [
        ("on-demand", 1, [], "no instances that stay"),
        ("idle", 0, [], "1 or more"),
        ("idle", None, ["cron(0 0 20 * * *)=1"], "--mode provisioned"),
        ("often", None, [], "none of on-demand"),
        (None, None, ["0 20 * * *"], "cron(SECOND"),
        (None, None, ["cron(0 20 * * *)=1"], "cron(SECOND"),
    ],
)
def test_modes_that_mean_nothing(mode: str | None, minimum: int | None, actions: list[str], said: str) -> None:
    with pytest.raises(UsageError) as told:
        make_schedule(mode, minimum, actions, "Asia/Shanghai")
    assert said in str(told.value)


def test_gpu_and_sizes() -> None:
    assert props("image", gpu="tesla")["gpuConfig"] == {"gpuType": "fc.gpu.tesla.1", "gpuMemorySize": 16384}
    assert "gpuConfig" not in props("image", gpu=None)
    for more, said in (
        ({"gpu": "voodoo"}, "--gpu 'voodoo'"),
        ({"memory": 65536}, "memorySize: 65536"),
        ({"disk": 2048}, "diskSize: 2048"),
        ({"image_size": 16 * 10**9}, "15 GB"),
    ):
        with pytest.raises(UsageError) as told:
            written("image", **more)
        assert said in str(told.value)


@pytest.mark.parametrize(
    ("kind", "network", "said"),
    [
        ("nas", Network(), "--vpc"),
        ("nas", Network(vpc="vpc-1"), "--vswitch"),
        ("nas", Network(vpc="auto", nas_server="nowhere"), "SERVER:/FOLDER"),
        ("oss", Network(), "--role"),
        ("image", Network(security_group="sg-1"), "--vpc"),
    ],
)
def test_what_nobody_said_is_asked_for(kind: str, network: Network, said: str) -> None:
    with pytest.raises(UsageError) as told:
        written(kind, network=network)
    assert said in str(told.value)


def test_no_accelerator_is_known_of_another_store() -> None:
    config = replace(STORAGES["s3"], kind="accl")
    made = Workload("anything", (ANYTHING,), source_of(config, None), "app:Handler", "r.example.com/sd:v5")
    with pytest.raises(UsageError, match="which accelerator"):
        s_yaml(made, function_compute("s3"), LIMITS)


def test_regions() -> None:
    assert region_of(source("oss"), None) == "cn-hangzhou"
    assert region_of(source("oss"), "cn-beijing") == "cn-beijing"
    by_endpoint = StorageConfig("oss", "oss://b", endpoint="https://oss-cn-shenzhen-internal.aliyuncs.com")
    assert region_of(source_of(by_endpoint, None), None) == "cn-shenzhen"
    with pytest.raises(UsageError, match="which region"):
        region_of(source("nas"), None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"handler": "app"}, "MODULE:NAME"),
        ({"image": "https://x"}, "no image's name"),
        ({"image": "me:hunter2@registry.example.com/x"}, "no image's name"),
        ({"env": {"DB_PASSWORD": "hunter2"}}, "DB_PASSWORD"),
        ({"concurrency": 0}, "--concurrency"),
        ({"device_memory": "lots"}, "--device-memory"),
    ],
)
def test_functions_that_mean_nothing(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as told:
        workload("image", **more)
    assert said in str(told.value)
    assert "hunter2" not in str(told.value)
