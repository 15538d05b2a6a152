"""oci:// addresses: the registry's URL, the way to it (plain, TLS, one's own authority), and the logins of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_fixtures import BIG, put, stream
from test_docker_config import write

from conftest import require
from hoist.config import StorageConfig
from hoist.errors import InvalidConfig, PermissionDenied, StorageUnavailable
from hoist.storage.oci.open_registry import open_registry
from hoist.testing.servers import DockerRegistry
from hoist.testing.servers.docker_registry import PASSWORD, USER

pytest_plugins = ["registry_fixtures"]
REQUEST = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"


@pytest.mark.parametrize(
    ("url", "base", "path"),
    [
        ("oci://localhost:5000/models", "http://localhost:5000", "models"),
        ("oci://127.0.0.1/a/b/", "http://127.0.0.1", "a/b"),
        ("oci://127.9.9.9:1/a", "http://127.9.9.9:1", "a"),
        ("oci://[::1]:5000/a:v1", "http://[::1]:5000", "a:v1"),
        ("oci://registry.example:5000/a", "https://registry.example:5000", "a"),
        ("oci://registry.example", "https://registry.example", ""),
        ("oci://localhost.example/a", "https://localhost.example", "a"),
        ("oci://docker.io/library/busybox:1", "https://registry-1.docker.io", "library/busybox:1"),
    ],
)
def test_urls(url: str, base: str, path: str, tmp_path: Path) -> None:
    registry, found = open_registry(StorageConfig("models", url), {"HOME": str(tmp_path)})
    assert (registry._client.base, found, registry.address) == (base, path, "models")
    registry.close()


def test_an_endpoint_says_it_outright(tmp_path: Path) -> None:
    for endpoint in ("http://10.1.2.3:5000", "https://localhost:5000"):
        config = StorageConfig("models", "oci://registry.example/a", endpoint=endpoint)
        assert open_registry(config, {"HOME": str(tmp_path)})[0]._client.base == endpoint


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("oci://user:pw@host/a", None),
        ("oci:///a", None),
        ("oci://host/a?tls=no", None),
        ("oci://host:port/a", None),
        ("oci://host/a", "ftp://host"),
        ("oci://host/a", "http://user:pw@host"),
        ("oci://host/a", "host:5000"),
    ],
)
def test_addresses_that_mean_nothing(url: str, endpoint: str | None) -> None:
    with pytest.raises(InvalidConfig, match="storage 'models'") as refused:
        open_registry(StorageConfig("models", url, endpoint=endpoint), {})
    assert "pw" not in str(refused.value)


def test_a_ca_bundle_has_to_be_there() -> None:
    with pytest.raises(InvalidConfig, match="ca_bundle /nowhere is no file"):
        open_registry(StorageConfig("models", "oci://host/a", ca_bundle="/nowhere"), {})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DockerRegistry, Path]]:
    """A registry with TLS and a login, and the certificate to trust."""
    require(DockerRegistry)
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate", folder / "key"
    subprocess.run(
        ["openssl", *REQUEST.split(), "-out", str(files[0]), "-keyout", str(files[1])], check=True, capture_output=True
    )
    with DockerRegistry(tls=files, login=True) as server:
        yield server, files[0]


def test_over_tls_with_the_logins_of_this_machine(
    secured: tuple[DockerRegistry, Path], tmp_path: Path, repository: str
) -> None:
    server, certificate = secured
    auth = write(tmp_path / "auth.json", {"auths": {server.host: {"username": USER, "password": PASSWORD}}})
    environ = {"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(auth)}
    config = StorageConfig(
        "models", f"oci://{server.host}/models", endpoint=server.endpoint, ca_bundle=str(certificate)
    )
    registry, _ = open_registry(config, environ, retry_seconds=1)
    digest = put(registry, repository, BIG[: 9 << 20], resume="x")
    assert stream(registry, repository, digest, 9 << 20) == BIG[: 9 << 20]
    assert list((tmp_path / ".cache/hoist/uploads/blobs").iterdir())
    registry.close()
    anonymous, _ = open_registry(
        StorageConfig("m", config.url, endpoint=config.endpoint, ca_bundle=config.ca_bundle, anonymous=True), environ
    )
    with pytest.raises(PermissionDenied, match="there is no login"):
        anonymous.tags(repository)
    anonymous.close()
    for strange in (StorageConfig("m", config.url, endpoint=config.endpoint), StorageConfig("m", config.url)):
        # An authority that is not known; plain HTTP to a server that wants TLS.
        registry, _ = open_registry(strange, environ, retry_seconds=0.1)
        with pytest.raises(StorageUnavailable if strange.endpoint else Exception):
            registry.tags(repository)
        registry.close()
