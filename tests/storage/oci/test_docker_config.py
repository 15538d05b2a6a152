"""The logins that docker, podman and skopeo leave: which file, which entry, which helper; no secret in a message."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hoist.errors import HoistError, InvalidConfig, LocalError
from hoist.storage.oci.docker_config import Login, find_login

SECRET = "secret-of-tests"
CODED = base64.b64encode(f"user:{SECRET}:with colon".encode()).decode()


def write(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def entry(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{SECRET}".encode()).decode()}


def helper(folder: Path, name: str, script: str) -> dict[str, str]:
    """An environment in which that helper is found."""
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{folder}:{os.defpath}", "HOME": str(folder), "DOCKER_CONFIG": str(folder)}


def test_files_in_their_order(tmp_path: Path) -> None:
    environ = {
        "REGISTRY_AUTH_FILE": str(tmp_path / "own.json"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "HOME": str(tmp_path),
    }
    assert find_login("host:5000", "", environ) is None
    for name in (".docker/config.json", "docker/config.json", "run/containers/auth.json", "own.json"):
        write(tmp_path / name, {"auths": {"host:5000": entry(name)}})
    found = []
    for gone in (None, "own.json", "run/containers/auth.json", "docker/config.json"):
        if gone:
            # A file without an entry for the host is passed over.
            write(tmp_path / gone, {"auths": {"other": entry("other"), "host:5000": {}}})
        login = find_login("host:5000", "", environ)
        found.append(login.user if login else "")
    # docker reads one folder or the other.
    assert found == ["own.json", "run/containers/auth.json", "docker/config.json", ""]
    login = find_login("host:5000", "", {"HOME": str(tmp_path)})
    assert login == Login(".docker/config.json", SECRET)
    assert SECRET not in repr(login)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"auth": CODED}, Login("user", f"{SECRET}:with colon")),
        ({"username": "u", "password": SECRET}, Login("u", SECRET)),
        ({"auth": CODED, "identitytoken": SECRET}, Login("", identity_token=SECRET)),
        ({"auth": ""}, None),
        ("nonsense", None),
    ],
)
def test_kinds_of_entries(tmp_path: Path, value: Any, expected: Login | None) -> None:
    file = write(tmp_path / "auth.json", {"auths": {"host": value}})
    assert find_login("host", "", {"REGISTRY_AUTH_FILE": str(file), "HOME": "/nowhere"}) == expected


def test_the_narrowest_entry_counts_and_dockers_names_are_known(tmp_path: Path) -> None:
    names = ["host", "host/models", "host/models/sd15", "https://old/v1/", "https://index.docker.io/v1/", "http://x/v2"]
    file = write(tmp_path / "auth.json", {"auths": {name: entry(name.replace(":", "")) for name in names}})
    environ = {"REGISTRY_AUTH_FILE": str(file), "HOME": "/nowhere"}

    def user(host: str, path: str = "") -> str | None:
        login = find_login(host, path, environ)
        return login.user if login else None

    assert user("host", "other/x") == "host"
    assert user("host", "models/other") == "host/models"
    assert user("host", "models/sd15/v5") == "host/models/sd15"
    assert (user("old"), user("x"), user("docker.io")) == ("https//old/v1/", "http//x/v2", "https//index.docker.io/v1/")
    assert user("host:5000") is None


def test_helpers(tmp_path: Path) -> None:
    answer = (
        f"""read server; printf '{{"ServerURL":"%s","Username":"of %s","Secret":"{SECRET}"}}' "$server" "$server\""""
    )
    environ = helper(tmp_path, "ours", f'[ "$1" = get ] || exit 3\n{answer}')
    helper(tmp_path, "none", 'echo "credentials not found in native keychain"; exit 1')
    helper(tmp_path, "token", f'echo \'{{"Username":"<token>","Secret":"{SECRET}"}}\'')
    config = tmp_path / "config.json"
    write(config, {"credHelpers": {"host": "ours"}, "credsStore": "none", "auths": {"host": entry("file")}})
    assert find_login("host", "a/b", environ) == Login("of host", SECRET)
    write(config, {"credsStore": "ours", "auths": {"docker.io": {}}})
    assert find_login("other:1", "a/b", environ) == Login("of other:1", SECRET)
    assert find_login("docker.io", "a/b", environ) == Login("of https://index.docker.io/v1/", SECRET)
    write(config, {"credsStore": "none", "auths": {"host": entry("file")}})
    assert find_login("host", "", environ) == Login("file", SECRET)
    write(config, {"credHelpers": {"host": "none"}})
    assert find_login("host", "", environ) is None
    write(config, {"credsStore": "token"})
    assert find_login("host", "", environ) == Login("", identity_token=SECRET)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"echo {SECRET}; exit 2", "ended with status 2"),
        (f"echo {SECRET}; echo {SECRET} >&2", "its answer is none"),
        (f"echo '[\"{SECRET}\"]'", "its answer is none"),
        ("exec /nowhere/at/all", "ended with status"),
    ],
)
def test_helpers_that_fail_tell_nothing(tmp_path: Path, script: str, said: str) -> None:
    environ = helper(tmp_path, "bad", script)
    write(tmp_path / "config.json", {"credsStore": "bad"})
    with pytest.raises(LocalError, match=f"docker-credential-bad gives no login for host: .*{said}") as failed:
        find_login("host", "", environ)
    assert SECRET not in str(failed.value) + repr(failed.value.__context__)


@pytest.mark.parametrize("name", ["absent", "../../bin/sh", "a b"])
def test_helpers_that_are_not_there(tmp_path: Path, name: str) -> None:
    environ = helper(tmp_path, "bad", "")
    write(tmp_path / "config.json", {"credHelpers": {"host": name}})
    with pytest.raises(LocalError, match="which is not on PATH"):
        find_login("host", "", environ)


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET} no json",
        f'["{SECRET}"]',
        f'{{"auths": ["{SECRET}"]}}',
        f'{{"credHelpers": "{SECRET}"}}',
        f'{{"auths": {{"host": {{"auth": "{SECRET}"}}}}}}',
        '{"auths": {"host": {"auth": "bm9jb2xvbg=="}}}',
        '{"auths": {"host": {"auth": "//8="}}}',
        "[" * 100_000,
    ],
)
def test_files_that_cannot_be_understood_are_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "auth.json"
    file.write_text(text)
    with pytest.raises(InvalidConfig, match=str(file)) as failed:
        find_login("host", "", {"REGISTRY_AUTH_FILE": str(file), "HOME": "/nowhere"})
    assert SECRET not in str(failed.value)
    assert isinstance(failed.value, HoistError)
