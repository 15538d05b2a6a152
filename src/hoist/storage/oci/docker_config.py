"""Who we are to a registry: what `docker login`, `podman login` and `skopeo login` have left on this machine.

Files, in this order: $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json, $DOCKER_CONFIG/config.json or
~/.docker/config.json. In each, a helper for the host (credHelpers) goes before the helper for all (credsStore), and that
before a login in the file itself. The first login that is found counts. Secrets go into no message.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hoist.errors import InvalidConfig, LocalError

DOCKER_HUB = "docker.io"
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", DOCKER_HUB)
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_SECONDS = 60.0
# What helpers give as the name of the user where the secret is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Login:
    """A user's name and password; or, where `identity_token` is not empty, a token that buys others."""

    user: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


def find_login(host: str, path: str, environ: Mapping[str, str]) -> Login | None:
    """The login for the registry `host` (with its port) and the repositories below `path` there; None if there is none.

    Raises InvalidConfig for a file that cannot be understood, LocalError for a helper that fails.
    """
    for file in _files(environ):
        if not file.is_file():
            continue
        found = _find(file, _read(file), host, path, environ)
        if found:
            return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("REGISTRY_AUTH_FILE"):
        yield Path(environ["REGISTRY_AUTH_FILE"])
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    docker = environ.get("DOCKER_CONFIG")
    yield (Path(docker) if docker else Path(environ.get("HOME", "/")) / ".docker") / "config.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidConfig(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InvalidConfig(f"{file} is no JSON document") from None
    if not isinstance(document, dict):
        raise InvalidConfig(f"{file} is no JSON object")
    return document


def _find(file: Path, document: Mapping[str, Any], host: str, path: str, environ: Mapping[str, str]) -> Login | None:
    helpers = _table(document, "credHelpers", file)
    auths = _table(document, "auths", file)
    keys = _keys(host, path)
    for key in keys:
        if isinstance(helpers.get(key), str):
            return _ask_helper(helpers[key], key, environ)
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        found = _ask_helper(store, _HUB_KEYS[0] if host == DOCKER_HUB else host, environ)
        if found:
            return found
    by_host = {_bare(name): entry for name, entry in auths.items()}
    for key in keys:
        entry = auths.get(key) or by_host.get(key)
        if isinstance(entry, dict):
            found = _login(entry, file, key)
            if found:
                return found
    return None


def _keys(host: str, path: str) -> list[str]:
    """What a login for these repositories may stand under, the narrowest first, as podman has it."""
    parts = [part for part in path.split("/") if part]
    narrow = ["/".join([host, *parts[:count]]) for count in range(len(parts), 0, -1)]
    return [*narrow, *(_HUB_KEYS if host == DOCKER_HUB else (host,))]


def _bare(name: str) -> str:
    """A name of docker's, such as https://HOST/v1/, as the host alone."""
    if "://" not in name:
        return name
    host, _, path = name.partition("://")[2].partition("/")
    return host if path.strip("/") in ("", "v1", "v2") else f"{host}/{path}"


def _table(document: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    found = document.get(name) or {}
    if not isinstance(found, dict):
        raise InvalidConfig(f"{file}: {name} is no table")
    return found


def _login(entry: Mapping[str, Any], file: Path, key: str) -> Login | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Login("", identity_token=token)
    if isinstance(entry.get("username"), str) and isinstance(entry.get("password"), str):
        return Login(entry["username"], entry["password"])
    coded = entry.get("auth")
    if not isinstance(coded, str) or not coded:
        return None
    try:
        user, colon, password = base64.b64decode(coded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise InvalidConfig(f"{file}: the login for {key} is not base64 of USER:PASSWORD; log in anew")
    return Login(user, password.rstrip("\0"))


def _ask_helper(name: str, server: str, environ: Mapping[str, str]) -> Login | None:
    program = f"docker-credential-{name}"
    found = shutil.which(program, path=environ.get("PATH", "")) if _HELPER_NAME.fullmatch(name) else None
    if found is None:
        raise LocalError(
            f"the login for {server} is kept by {program!r}, which is not on PATH: install it, or log in with another "
            "REGISTRY_AUTH_FILE"
        )
    try:
        done = subprocess.run(
            [found, "get"],
            input=server.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalError(f"{program} gives no login for {server}: {type(error).__name__}") from None
    if done.returncode:
        # All helpers say so in these words, and end with a status of 1.
        if b"not found" in done.stdout:
            return None
        raise LocalError(f"{program} gives no login for {server}: it ended with status {done.returncode}")
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise LocalError(f"{program} gives no login for {server}: its answer is none") from None
    if not secret:
        return None
    return Login("", identity_token=secret) if user == _TOKEN_USER else Login(user, secret)
