"""Traces in files, and those that a function serves: one JSON document, or a line for each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from hoist.errors import FileNotFound, InvalidFile, PermissionDenied, StorageUnavailable, UsageError
from hoist.function.trace import Trace
from hoist.read.source import local_error
from hoist.storage.translate import redact

SERVED_AT = "/trace"
_MOST_BYTES = 64 << 20
_TIMEOUT_SECONDS = 10.0


def read_traces(place: str, token: str | None = None) -> tuple[Trace, ...]:
    """The traces of a file, or of an http URL: a function's address is enough. `token` is the function's, if it wants one.

    Raises FileNotFound, InvalidFile, LocalError, PermissionDenied, StorageUnavailable, UsageError.
    """
    if place.startswith(("http://", "https://")):
        url = _served(place)
        found = parse_traces(_fetch(url, redact(url), token), redact(url))
        # A function tells the newest first; here the last is the newest, as in a file.
        return tuple(sorted(found, key=lambda trace: trace.began))
    path = Path(place)
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise local_error(error, path) from None
    return parse_traces(data, place)


def append_traces(path: Path, traces: Iterable[Trace]) -> None:
    """Append traces to a file, a line each; it is made if need be. Raises PermissionDenied, LocalError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.writelines(trace.to_json() + "\n" for trace in traces)
    except OSError as error:
        raise local_error(error, path) from None


def parse_traces(data: bytes, name: str) -> tuple[Trace, ...]:
    """The traces in a document: one, a list, an object whose `traces` is a list, or one a line.

    Raises InvalidFile, with `name` and the place, for anything else and where there is none.
    """
    if len(data) > _MOST_BYTES:
        raise InvalidFile(f"{name}: larger than {_MOST_BYTES >> 20} MiB: no file of traces")
    try:
        found = json.loads(data)
    except RecursionError:
        raise InvalidFile(f"{name}: no traces: JSON that is nested too deeply") from None
    except ValueError:
        return _parse_lines(data, name)
    many = found.get("traces") if isinstance(found, dict) else found
    if not isinstance(many, list):
        return (_parse(found, name),)
    if not many:
        raise InvalidFile(f"{name}: no trace yet")
    return tuple(_parse(each, f"{name}, trace {number}") for number, each in enumerate(many, 1))


def _parse_lines(data: bytes, name: str) -> tuple[Trace, ...]:
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                found.append(Trace.from_json(line))
            except InvalidFile as error:
                raise InvalidFile(f"{name}, line {number}: {error}") from None
    if not found:
        raise InvalidFile(f"{name}: no trace yet")
    return tuple(found)


def _parse(document: object, name: str) -> Trace:
    try:
        return Trace.from_document(document)
    except InvalidFile as error:
        raise InvalidFile(f"{name}: {error}") from None


def _served(place: str) -> str:
    """The URL of a function's traces; user and password do not belong into it, so that none is ever shown."""
    try:
        parts = urlsplit(place)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if not host:
        raise UsageError(f"{place!r} is no URL: write http://HOST:PORT")
    if "@" in parts.netloc:
        raise UsageError(f"the URL of {host} has a user or password in it: use --token-file")
    return parts._replace(path=SERVED_AT, fragment="").geturl() if parts.path in ("", "/") else place


class _Stay(HTTPRedirectHandler):
    """Goes nowhere else: the token is this function's."""

    def redirect_request(self, *rest: object) -> None:
        """No."""


def _fetch(url: str, shown: str, token: str | None) -> bytes:
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with build_opener(_Stay).open(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 http
            data: bytes = answer.read(_MOST_BYTES + 1)
            return data
    except HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise PermissionDenied(f"{shown} wants the function's token: give it with --token-file") from None
        if error.code == 404:
            raise FileNotFound(
                f"{shown} has no trace: no load has ended there yet, or it is no function of hoist serve"
            ) from None
        raise StorageUnavailable(f"{shown} answered {error.code} {error.reason}") from None
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise StorageUnavailable(f"{shown} does not answer: {reason or type(error).__name__}") from None
    except ValueError:
        raise UsageError(f"{shown!r} is no URL: write http://HOST:PORT") from None


def choose(traces: Sequence[Trace], number: int | None, name: str) -> Trace:
    """The trace of that number, from 1; from the end if it is negative; the last without one. Raises UsageError."""
    if number is None:
        return traces[-1]
    if number == 0 or abs(number) > len(traces):
        raise UsageError(f"{name} has {len(traces)} traces: there is no number {number}")
    return traces[number - 1 if number > 0 else number]
