"""Authorization as registries ask for it: a login with each request, or bearer tokens that a token server gives.

What is wanted is learned from the first refusal (WWW-Authenticate). Tokens are kept by what they are for, renewed before
they expire, and whenever the registry refuses one. Logins and tokens go into no message.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import quote, urlencode, urlsplit

from hoist.errors import HoistError, PermissionDenied
from hoist.storage.answers import refusal
from hoist.storage.oci.docker_config import Login
from hoist.storage.wire import Wire

Scopes = tuple[str, ...]
"""What a request needs, such as `repository:NAME:pull,push`."""
CATALOG: Scopes = ("registry:catalog:*",)

_PAIR = re.compile(r'([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
# The token specification's own default, for a server that does not say.
_USUAL_SECONDS = 60.0
# A token is renewed that long before it expires, or after four fifths of a shorter life.
_MARGIN_SECONDS = 15.0
_MOST_TOKENS = 1000
_MOST_TOKEN_BYTES = 1 << 20


def pull(repository: str) -> Scopes:
    """For reading a repository."""
    return (f"repository:{repository}:pull",)


def push(repository: str, source: str | None = None) -> Scopes:
    """For writing to a repository, and taking blobs from `source`."""
    return (f"repository:{repository}:pull,push", *(pull(source) if source else ()))


def delete(repository: str) -> Scopes:
    """For deleting in a repository."""
    return (f"repository:{repository}:delete",)


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry wants to see: `kind` (basic or bearer), and where a token is to be had."""

    kind: str
    realm: str = ""
    service: str = ""
    scopes: Scopes = ()


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    until: float


class Authorizer:
    """The Authorization of one registry's requests. Safe for many threads.

    `base` is the registry's URL, `host` its name for the user; `login` is asked at the first refusal, once.
    """

    def __init__(self, base: str, host: str, wire: Wire, login: Callable[[], Login | None]) -> None:
        self._base, self._host, self._wire = base, host, wire
        self._find_login = login
        self._lock = Lock()
        self._login: Login | None = None
        self._challenge: Challenge | None = None
        self._tokens: dict[Scopes, _Token] = {}
        self._more: dict[Scopes, Scopes] = {}

    def headers(self, scopes: Scopes) -> dict[str, str]:
        """What to send along; nothing as long as the registry has asked for nothing.

        Raises PermissionDenied, StorageUnavailable if no token is to be had.
        """
        with self._lock:
            if self._challenge is None:
                return {}
            if self._challenge.kind == "basic":
                return {"Authorization": self._basic()} if self._login else {}
            token = self._tokens.get(scopes)
            if token is None or time.monotonic() >= token.until:
                token = self._fetch(self._challenge, self._more.get(scopes, scopes))
                if len(self._tokens) >= _MOST_TOKENS:
                    self._tokens.clear()
                self._tokens[scopes] = token
            return {"Authorization": f"Bearer {token.value}"}

    def refused(self, header: str, scopes: Scopes, sent: str | None, what: str) -> None:
        """The registry has answered 401 with this challenge to a request with the Authorization `sent`: learn from it.

        Returns if the request is worth sending again, with new `headers`. Raises PermissionDenied.
        """
        challenge = parse_challenge(header)
        with self._lock:
            if challenge is None:
                raise self.denied(what)
            if self._challenge is None:
                self._login = self._find_login()
            self._challenge = challenge
            if challenge.kind == "basic":
                if sent is not None or self._login is None:
                    raise self.denied(what)
                return
            self._check_realm(challenge)
            token = self._tokens.get(scopes)
            if token and sent == f"Bearer {token.value}":
                del self._tokens[scopes]
            wider = tuple(dict.fromkeys(scopes + challenge.scopes))
            self._more[scopes] = wider

    def _check_realm(self, challenge: Challenge) -> None:
        scheme = urlsplit(challenge.realm).scheme
        if scheme != "https" and not (scheme == "http" and self._base.startswith("http:")):
            raise PermissionDenied(
                f"{self._host} wants tokens of {urlsplit(challenge.realm).netloc or 'nowhere'} without TLS: "
                "no login is sent there"
            )

    def _basic(self) -> str:
        assert self._login is not None
        return "Basic " + base64.b64encode(f"{self._login.user}:{self._login.password}".encode()).decode()

    def _fetch(self, challenge: Challenge, scopes: Scopes) -> _Token:
        what = f"a token for {self._host} from {urlsplit(challenge.realm).netloc.rpartition('@')[2]}"
        fields = [("service", challenge.service)] if challenge.service else []
        scoped = [("scope", scope) for scope in scopes]
        headers: dict[str, str] = {}
        if self._login and self._login.identity_token:
            bought = {"grant_type": "refresh_token", "client_id": "hoist", "refresh_token": self._login.identity_token}
            form = urlencode([*bought.items(), *fields, ("scope", " ".join(scopes))]).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = self._wire.exchange(
                "POST", challenge.realm, headers, lambda: iter([memoryview(form)]), len(form), what, _MOST_TOKEN_BYTES
            )
        else:
            if self._login:
                headers["Authorization"] = self._basic()
            query = urlencode(fields + scoped, quote_via=quote)
            url = f"{challenge.realm}{'&' if '?' in challenge.realm else '?'}{query}"
            answer = self._wire.exchange("GET", url, headers, None, 0, what, _MOST_TOKEN_BYTES)
        if answer.status in (400, 401, 403):
            raise self.denied(what)
        if answer.status != 200:
            raise refusal(answer.status, answer.reason, b"", what, answer.headers.get)
        return _token(answer.body, what)

    def denied(self, what: str) -> PermissionDenied:
        """What it means that the registry refuses for good, with the mend."""
        if self._login is None:
            return PermissionDenied(
                f"no permission for {what}: there is no login for {self._host} on this machine (docker login, podman "
                "login or skopeo login makes one), or what is asked for is not there"
            )
        return PermissionDenied(f"no permission for {what}: {self._host} refuses the login of this machine for it")


def parse_challenge(header: str) -> Challenge | None:
    """The challenge in a WWW-Authenticate header that can be met: bearer before basic; None if there is none."""
    found = re.search(r"(?:^|,)\s*(bearer)\s+(?=[A-Za-z])", header, re.I)
    if found is None:
        return Challenge("basic") if re.search(r"(?:^|,)\s*basic(?:\s|$)", header, re.I) else None
    fields: dict[str, str] = {}
    for name, quoted, plain in _PAIR.findall(header[found.end() :]):
        fields.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    if not fields.get("realm"):
        return None
    return Challenge("bearer", fields["realm"], fields.get("service", ""), tuple(fields.get("scope", "").split()))


def _token(body: bytes, what: str) -> _Token:
    try:
        answer = json.loads(body)
        value = answer.get("token") or answer.get("access_token")
        lasts = float(answer.get("expires_in") or _USUAL_SECONDS)
        if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
            raise ValueError
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise HoistError(f"{what}: the answer holds none") from None
    return _Token(value, time.monotonic() + lasts - min(_MARGIN_SECONDS, lasts / 5))
