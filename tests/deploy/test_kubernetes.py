"""Manifests hold by Kubernetes' own schema, refer to what there is, and do what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import ANYTHING, IMAGE, PASTEL, STORAGES, kubernetes_validator, workload

from hoist.deploy.cluster import Cluster, Manifest
from hoist.deploy.kserve import PULL
from hoist.deploy.kubernetes import manifests
from hoist.deploy.kubernetes_accelerator import Accelerators
from hoist.deploy.kubernetes_warm import Warming
from hoist.deploy.source import Model, source_of
from hoist.deploy.workload import Workload
from hoist.deploy.yaml_text import render
from hoist.errors import UsageError

DEFINITIONS = {
    ("apps/v1", "Deployment"): "io.k8s.api.apps.v1.Deployment",
    ("apps/v1", "DaemonSet"): "io.k8s.api.apps.v1.DaemonSet",
    ("batch/v1", "Job"): "io.k8s.api.batch.v1.Job",
    ("v1", "Service"): "io.k8s.api.core.v1.Service",
}
CLUSTER = Cluster(nas_server="nfs.example.com:/export/models", secret="creds")
Object = Mapping[str, Any]


def objects(found: list[Manifest]) -> list[Any]:
    """What `kubectl apply` reads."""
    return list(yaml.safe_load_all(render([each.document for each in found])))


def check(found: Object) -> None:
    """By the published schema, as strictly as the API server with --validate=strict."""
    if found["kind"] == "ClusterStorageContainer":
        check_storage_container(found)
        return
    errors = list(kubernetes_validator(DEFINITIONS[found["apiVersion"], found["kind"]]).iter_errors(found))
    assert not errors, errors[0]


def check_storage_container(found: Object) -> None:
    """By the fields of KServe's custom resource definition."""
    assert (found["apiVersion"], set(found["spec"])) == (
        "serving.kserve.io/v1alpha1",
        {"container", "supportedUriFormats", "workloadType"},
    )
    assert found["spec"]["container"]["name"] == "storage-initializer"
    assert all(set(each) in ({"prefix"}, {"regex"}) for each in found["spec"]["supportedUriFormats"])
    assert found["spec"]["workloadType"] in ("initContainer", "localModelDownloadJob")
    errors = list(kubernetes_validator("io.k8s.api.core.v1.Container").iter_errors(found["spec"]["container"]))
    assert not errors, errors[0]


def by_kind(found: list[Any], kind: str) -> Any:
    """The one object of a kind."""
    (only,) = (each for each in found if each["kind"] == kind)
    return only


def pod_of(found: Object) -> Any:
    """The pod's spec of a Deployment, a Job or a DaemonSet."""
    return found["spec"]["template"]["spec"]


def served(kind: str, cluster: Cluster = CLUSTER, *models: Model, **more: Any) -> Any:
    """The pod's spec of the function itself."""
    found = objects(manifests(workload(kind, *models), cluster, **more))
    return pod_of(by_kind([each for each in found if each["metadata"]["name"] == "anything"], "Deployment"))


@pytest.mark.parametrize("kind", STORAGES)
@pytest.mark.parametrize(
    "cluster",
    [
        CLUSTER,
        replace(CLUSTER, cache="pod", fill="init", gpus=0, namespace="models", service_account="reader"),
        replace(CLUSTER, cache="memory", cpu="500m", memory="12Gi", node_selector={"gpu": "true"}, replicas=3),
    ],
    ids=["host", "pod", "memory"],
)
def test_every_object_holds_by_its_schema(kind: str, cluster: Cluster) -> None:
    bucket = kind in ("oss", "accl", "s3")
    found = objects(
        manifests(
            workload(kind, ANYTHING, *([PASTEL] if kind != "image" else []), env={"MODE": "fast"}),
            cluster,
            warming=Warming(3) if bucket and cluster.cache == "host" else None,
            accelerators=Accelerators(2) if kind == "accl" else None,
            kserve=bucket,
        )
    )
    for each in found:
        check(each)
        spec = pod_of(each) if "template" in each["spec"] else {}
        volumes = {volume["name"] for volume in spec.get("volumes", ())}
        containers = [*spec.get("initContainers", ()), *spec.get("containers", ())]
        mounted = {mount["name"] for container in containers for mount in container.get("volumeMounts", ())}
        assert mounted == volumes
        assert spec.get("enableServiceLinks", False) is False
    own = [each for each in found if each["metadata"]["name"] == "anything"]
    deployment, service = by_kind(own, "Deployment"), by_kind(own, "Service")
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_the_schema_sees_what_is_wrong() -> None:
    found = by_kind(objects(manifests(workload("nas"), CLUSTER)), "Deployment")
    pod_of(found)["containers"][0]["readynessProbe"] = {}
    with pytest.raises(AssertionError, match="readynessProbe"):
        check(found)


def test_probes_ask_what_hoist_serve_answers() -> None:
    (server,) = served("nas", CLUSTER)["containers"]
    port = server["ports"][0]
    assert (port["name"], port["containerPort"]) == ("http", 9000)
    asked = {name: server[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {each["port"] for each in asked.values()} == {"http"}
    assert [each["path"] for each in asked.values()] == ["/healthz", "/healthz", "/readyz"]
    assert server["command"][:3] == ["hoist", "serve", "app:Handler"]


def test_nfs_and_image_volumes() -> None:
    pod = served("nas", Cluster())
    assert pod["volumes"][0]["nfs"] == {"server": "nas.example.com", "path": "/export/models", "readOnly": True}
    assert "/mnt/models//sd15/anything:v5" in pod["containers"][0]["command"]
    pod = served("image", Cluster())
    assert pod["volumes"][0]["image"]["reference"] == "registry.example.com/models/sd15/anything:v5"
    assert (
        f"{pod['containers'][0]['volumeMounts'][0]['mountPath']}/models//sd15/anything:v5"
        in pod["containers"][0]["command"]
    )
    with pytest.raises(UsageError, match="--model-image"):
        manifests(workload("image", ANYTHING, PASTEL), Cluster())
    given = replace(CLUSTER, model_image="registry.example.com/all:v1")
    pod = served("image", given, ANYTHING, PASTEL)
    assert pod["volumes"][0]["image"]["reference"] == "registry.example.com/all:v1"


def test_models_in_the_function_s_own_image_need_no_volume() -> None:
    config = replace(STORAGES["image"], url="/models")
    made = Workload("anything", (ANYTHING,), source_of(config, "image"), "app:Handler", IMAGE)
    pod = pod_of(by_kind(objects(manifests(made, Cluster())), "Deployment"))
    assert "volumes" not in pod
    assert "/models//sd15/anything:v5" in pod["containers"][0]["command"]


@pytest.mark.parametrize("fill", ["sidecar", "init"])
def test_the_cache_is_filled_by_hoist_and_shared(fill: str) -> None:
    cluster = replace(CLUSTER, fill=fill)
    pod = served("oss", cluster, ANYTHING, PASTEL)
    assert pod["volumes"] == [{"name": "cache", "hostPath": {"path": "/var/cache/hoist", "type": "DirectoryOrCreate"}}]
    filling, (server,) = pod["initContainers"], pod["containers"]
    for each in (*filling, server):
        env = {item["name"]: item["value"] for item in each["env"]}
        assert env["HOIST_CACHE"] == "/var/cache/hoist"
        assert env["HOIST_STORAGE_OSS_URL"] == "oss://models/some/prefix"
        assert each["envFrom"] == [{"secretRef": {"name": "creds"}}]
    if fill == "sidecar":
        (each,) = filling
        assert each["restartPolicy"] == "Always"
        assert each["command"][-2:] == ["oss//sd15/anything:v5", f"oss//{PASTEL.reference}"]
    else:
        assert [each["command"][:2] for each in filling] == [["hoist", "warm"]] * 2
        assert all("restartPolicy" not in each for each in filling)


def test_a_cache_in_a_pod_is_below_the_folder_that_everybody_may_write() -> None:
    pod = pod_of(
        by_kind(objects(manifests(workload("oss"), replace(CLUSTER, cache="memory", cache_size="8Gi"))), "Deployment")
    )
    assert pod["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    env = {item["name"]: item["value"] for item in pod["containers"][0]["env"]}
    assert env["HOIST_CACHE"] == pod["containers"][0]["volumeMounts"][0]["mountPath"] + "/blocks"


def test_warming() -> None:
    made = workload("oss", ANYTHING, PASTEL)
    job = by_kind(objects(manifests(made, CLUSTER, warming=Warming(4))), "Job")
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (4, 4)
    (term,) = pod_of(job)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    steps = [*pod_of(job)["initContainers"], *pod_of(job)["containers"]]
    assert [each["command"][-1] for each in steps] == ["oss//sd15/anything:v5", f"oss//{PASTEL.reference}"]
    other = by_kind(objects(manifests(workload("oss"), CLUSTER, warming=Warming(4))), "Job")
    assert other["metadata"]["name"] != job["metadata"]["name"]
    daemons = by_kind(objects(manifests(made, CLUSTER, warming=Warming())), "DaemonSet")
    check(daemons)
    assert len(pod_of(daemons)["initContainers"]) == 2
    for kind, cluster in (("nas", CLUSTER), ("oss", replace(CLUSTER, cache="pod"))):
        with pytest.raises(UsageError, match="--cache host"):
            manifests(workload(kind), cluster, warming=Warming(1))


def test_accelerators_are_one_by_one_and_readers_know_all() -> None:
    found = objects(
        manifests(workload("oss"), replace(CLUSTER, namespace="models"), accelerators=Accelerators(2, "500Gi"))
    )
    names = ["anything-accelerator-1", "anything-accelerator-2"]
    accelerators = [each for each in found if each["metadata"]["name"] in names and each["kind"] == "Deployment"]
    services = [each for each in found if each["metadata"]["name"] in names and each["kind"] == "Service"]
    assert len(accelerators) == len(services) == 2
    for accelerator, service in zip(accelerators, services, strict=True):
        assert service["spec"]["selector"].items() <= accelerator["spec"]["template"]["metadata"]["labels"].items()
        (container,) = pod_of(accelerator)["containers"]
        assert container["command"][:4] == ["hoist", "accelerate", "--origin", "oss"]
        assert int(container["command"][container["command"].index("--size") + 1]) < 500 * 2**30
        assert "envFrom" not in container
        assert not any(item["name"].endswith("_ACCELERATOR") for item in container["env"])
    assert services[0]["spec"]["selector"] != services[1]["spec"]["selector"]
    server = pod_of(by_kind([each for each in found if each["metadata"]["name"] == "anything"], "Deployment"))[
        "containers"
    ][0]
    env = {item["name"]: item["value"] for item in server["env"]}
    assert env["HOIST_STORAGE_OSS_ACCELERATOR"] == ",".join(f"http://{name}.models.svc:8080" for name in names)
    with pytest.raises(UsageError, match="object store"):
        manifests(workload("nas"), CLUSTER, accelerators=Accelerators())


def test_kserve_gives_hoist_a_uri_and_a_folder(tmp_path: Path) -> None:
    """Run as KServe runs it: with the URI and the folder appended to the command."""
    container = by_kind(objects(manifests(workload("s3"), CLUSTER, kserve=True)), "ClusterStorageContainer")["spec"][
        "container"
    ]
    assert container["command"] == ["sh", "-c", PULL, "hoist-pull"]
    source, store, target = tmp_path / "source", tmp_path / "store", tmp_path / "mnt"
    for folder in (source, store):
        folder.mkdir()
    (source / "config.json").write_text('{"a": 1}')
    program = tmp_path / "hoist"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hoist "$@"\n')
    program.chmod(0o755)
    env = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "HOIST_STORAGE_S3_URL": str(store),
    }
    uri = "hoist://s3//sd15/anything:v5"
    for words in (
        [str(program), "publish", str(source), "s3//sd15/anything:v5", "--quiet"],
        [*container["command"], uri, str(target)],
    ):
        ended = subprocess.run(words, env=env, check=False, capture_output=True)
        assert ended.returncode == 0, ended.stderr
    assert (target / "config.json").read_text() == '{"a": 1}'


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cpu": "lots"}, "--cpu"),
        ({"namespace": "Not A Name"}, "--namespace"),
        ({"cache_folder": "var/cache"}, "--cache-folder"),
        ({"replicas": -1}, "--replicas"),
        ({"cache": "tape"}, "--cache"),
    ],
)
def test_what_means_nothing_to_kubernetes(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as told:
        Cluster(**more)
    assert said in str(told.value)


def test_an_nfs_server_must_be_said() -> None:
    config = replace(STORAGES["nas"], url="/srv/models")
    made = Workload("anything", (ANYTHING,), source_of(config, None), "app:Handler", IMAGE)
    with pytest.raises(UsageError, match="--nas-server SERVER:/FOLDER"):
        manifests(made, Cluster())
