"""The doctor at registries: one that works, and what can be wrong with one, each with its mend."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

import hoist
from hoist.checkup.report import Finding
from hoist.config import load_config
from hoist.storage import open_storage
from hoist.testing.servers import DockerRegistry, FaultServer, Rule, ServerOrigin
from hoist.testing.servers.docker_registry import PASSWORD, USER
from hoist.testing.servers.fault_kinds import Flip, Refusal
from makers import publish, write_files
from oci_tools import program

NAMES = ("endpoint", "TLS", "login", "list", "read", "push", "delete")


def check(address: str, home: Path, environ: Mapping[str, str] | None = None, **options: bool) -> dict[str, Finding]:
    """The findings about the storage, by name."""
    config = load_config({"HOME": str(home), **(environ or {})}, home)
    report = hoist.doctor(address, config=config, **options)
    return {item.name: item for item in report.findings if item.group == f"storage {address}"}


def publish_at(address: str, home: Path, environ: Mapping[str, str] | None = None) -> None:
    given = {"HOME": str(home), **(environ or {})}
    with open_storage(load_config(given, home).storage(address), given) as storage:
        publish(write_files(home / "source", {"w.bin": b"weights", "config.json": b"{}"}), storage, "m/one:v1")


def statuses(found: Mapping[str, Finding]) -> dict[str, str]:
    return {name: finding.status for name, finding in found.items()}


def test_a_registry_that_works(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    prefix = uuid4().hex
    address = f"oci://{docker_registry.host}/{prefix}"
    assert check(address, tmp_path)["read"].status == "missing"
    publish_at(address, tmp_path)
    found = check(address, tmp_path)
    assert statuses(found) == dict.fromkeys(NAMES, "ok")
    assert "this machine" in found["TLS"].detail
    assert "none is asked for" in found["login"].detail
    # It leaves no repository of its own.
    with urlopen(f"{docker_registry.endpoint}/v2/_catalog?n=1000", timeout=10) as answer:
        assert [name for name in json.load(answer)["repositories"] if prefix in name] == [f"{prefix}/m/one"]
    assert set(check(address, tmp_path, read_only=True)) == set(NAMES) - {"push", "delete"}


def test_one_image_is_read_alone(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    prefix = f"oci://{docker_registry.host}/{uuid4().hex}"
    publish_at(prefix, tmp_path)
    found = check(f"{prefix}/m/one:v1", tmp_path)
    assert statuses(found) == dict.fromkeys(NAMES[:5], "ok")
    assert check(f"{prefix}/m/one:v2", tmp_path)["list"].status == "failed"


def test_a_registry_that_deletes_nothing(tmp_path: Path) -> None:
    program("docker-registry")
    with DockerRegistry(deletes=False) as server:
        found = check(f"oci://{server.host}/models", tmp_path)
    assert found["push"].status == "ok"
    assert found["delete"].status == "warning"
    assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in found["delete"].mend


def test_logins(tmp_path: Path) -> None:
    program("docker-registry")
    with DockerRegistry(login=True) as server:
        address = f"oci://{server.host}/models"
        found = check(address, tmp_path)
        assert found["login"].status == found["list"].status == "warning"
        assert "docker login" in found["login"].mend
        for password, status in (("wrong", "warning"), (PASSWORD, "ok")):
            secret = base64.b64encode(f"{USER}:{password}".encode()).decode()
            file = tmp_path / "auth.json"
            file.write_text(json.dumps({"auths": {server.host: {"auth": secret}}}))
            found = check(address, tmp_path, {"REGISTRY_AUTH_FILE": str(file)})
            assert found["login"].status == "ok"
            assert found["list"].status == status
            assert not any(password in each.detail or secret in each.detail for each in found.values())
        assert found["push"].status == "ok"
        file.write_text("no JSON")
        assert check(address, tmp_path, {"REGISTRY_AUTH_FILE": str(file)})["login"].status == "failed"


def test_what_cannot_be_reached(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        found = check(f"oci://127.0.0.1:{unheard.getsockname()[1]}/models", tmp_path)
    assert statuses(found) == {"endpoint": "failed"}
    # HTTPS where plain HTTP is spoken.
    found = check("oci://registry.example/models", tmp_path, {"HOIST_ENDPOINT": f"https://{docker_registry.host}"})
    assert statuses(found) == {"endpoint": "failed"}
    assert f'endpoint = "http://{docker_registry.host}"' in found["endpoint"].mend


def test_what_is_no_registry_or_a_sick_one(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    prefix = uuid4().hex
    publish_at(f"oci://{docker_registry.host}/{prefix}", tmp_path)
    with FaultServer(ServerOrigin(docker_registry.endpoint)) as sick:
        address = f"oci://{sick.endpoint.partition('//')[2]}/{prefix}"
        for rule, name, status in (
            (Rule(Refusal(404), path="/v2/"), "endpoint", "failed"),
            (Rule(Refusal(404, code="NAME_UNKNOWN"), path="/v2/_catalog"), "list", "warning"),
            (Rule(Refusal(503), path="/v2/_catalog"), "list", "failed"),
            (Rule(Flip(), path="*/blobs/*"), "read", "failed"),
            (Rule(Refusal(403, code="DENIED"), method="POST"), "push", "warning"),
            (Rule(Refusal(403, code="DENIED"), method="DELETE", path="*/manifests/*"), "delete", "warning"),
        ):
            sick.plan(rule)
            found = check(address, tmp_path)
            assert found[name].status == status, (rule, found)
            assert found[name].mend
