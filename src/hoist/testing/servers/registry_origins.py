"""What stands before a registry elsewhere, as origins of a fault server: a token server, and another way of uploading."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from hoist.testing.servers.base import Answer
from hoist.testing.servers.origins import Origin

USER, PASSWORD, IDENTITY = "writer", "gate-test-only", "identity-test-only"
_SERVICE = "gate"
_REPOSITORY = re.compile(r"/v2/(?P<name>.+)/(?:manifests|blobs|tags|referrers)/")


@dataclass
class _Issued:
    scopes: frozenset[str]
    left: int


@dataclass
class TokenGate:
    """Lets through to `origin` what brings a bearer token that is for it, and gives those at `/token` to who logs in.

    Each token is good for `uses` requests. USER with PASSWORD, or IDENTITY, gets what it asks for, but nothing in the
    repositories `closed`; anybody else may pull. `issued` counts tokens.
    """

    origin: Origin
    uses: int = 1 << 30
    closed: frozenset[str] = frozenset()
    expires_in: int | None = None
    issued: int = 0
    _tokens: dict[str, _Issued] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The origin's answer, a token, or 401 with what is wanted."""
        if urlsplit(target).path == "/token":
            return self._token(method, target, headers, body)
        needed = _needed(method, target)
        if not self._admits(headers.get("authorization", ""), needed):
            wanted = " ".join(f"{name}:{action}" for name, action in needed)
            challenge = f'Bearer realm="http://{headers["host"]}/token",service="{_SERVICE}",scope="{wanted}"'
            error = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}).encode()
            return Answer(401, {"www-authenticate": challenge, "content-type": "application/json"}, error)
        passed = {name: value for name, value in headers.items() if name != "authorization"}
        return self.origin.answer(method, target, passed, body)

    def close(self) -> None:
        """Close the origin."""
        self.origin.close()

    def _admits(self, header: str, needed: list[tuple[str, str]]) -> bool:
        kind, _, value = header.partition(" ")
        with self._lock:
            token = self._tokens.get(value) if kind == "Bearer" else None
            if token is None or token.left <= 0:
                return False
            token.left -= 1
            return all(f"{name}:{action}" in token.scopes for name, actions in needed for action in actions.split(","))

    def _token(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asked = parse_qs(body.decode() if method == "POST" else urlsplit(target).query)
        login = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        given = headers.get("authorization")
        known = given == login or asked.get("refresh_token") == [IDENTITY]
        if asked.get("service") != [_SERVICE] or (not known and (given or method == "POST")):
            return Answer(401, {}, b"{}")
        granted = set()
        for scope in " ".join(asked.get("scope", [])).split():
            name, _, actions = scope.rpartition(":")
            if name.removeprefix("repository:") in self.closed:
                continue
            granted |= {f"{name}:{action}" for action in actions.split(",") if known or action == "pull"}
        with self._lock:
            value = secrets.token_urlsafe(24)
            self._tokens[value] = _Issued(frozenset(granted), self.uses)
            self.issued += 1
        said = {"token": value} | ({} if self.expires_in is None else {"expires_in": self.expires_in})
        return Answer(200, {"content-type": "application/json"}, json.dumps(said).encode())


class SteadyUploads:
    """A registry whose uploads keep their URL, a relative one with a query, and can go on from any byte; docker-registry's
    URL changes with each chunk, and is lost with an answer. `begun` counts uploads."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._lock = Lock()
        self._places: dict[str, str] = {}
        self.begun = 0

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The origin's answer, with the upload's own URL."""
        parts = urlsplit(target)
        if "/blobs/uploads/" not in parts.path:
            return self._origin.answer(method, target, headers, body)
        with self._lock:
            place = self._places.get(parts.path)
        if place is not None:
            digest = parse_qs(parts.query).get("digest")
            assert parse_qs(parts.query)["kept"] == ["a b&c"], "the query of a Location is part of it"
            target = place + (f"&digest={digest[0]}" if digest else "")
        answer = self._origin.answer(method, target, headers, body)
        location = answer.headers.get("location", "")
        if "/blobs/uploads/" not in location:
            return answer
        found = urlsplit(location)
        with self._lock:
            self.begun += method == "POST"
            self._places[found.path] = f"{found.path}?{found.query}"
        return Answer(answer.status, {**answer.headers, "location": f"{found.path}?kept=a%20b%26c"}, answer.body)

    def close(self) -> None:
        """Close the origin."""
        self._origin.close()


def _needed(method: str, target: str) -> list[tuple[str, str]]:
    """What a request has to be allowed: names, each with actions."""
    parts = urlsplit(target)
    if parts.path == "/v2/_catalog":
        return [("registry:catalog", "*")]
    found = _REPOSITORY.match(parts.path)
    if found is None:
        return []
    actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(method, "pull,push")
    needed = [(f"repository:{found['name']}", actions)]
    source = parse_qs(parts.query).get("from")
    return needed + ([(f"repository:{source[0]}", "pull")] if source else [])
