"""What of a base image's config is kept and what is set: entry point, command, environment, labels and the rest. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hoist.errors import UsageError
from hoist.model.image.documents import ImageConfig, parse_config


@dataclass(frozen=True, slots=True)
class Edits:
    """What to set; None, or nothing, keeps what the base has. An entry point or command that is empty removes it."""

    entrypoint: Sequence[str] | None = None
    cmd: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None


def edited(config: ImageConfig, edits: Edits) -> ImageConfig:
    """The config with the edits. As docker does it: a new entry point drops the base's command, unless one is given."""
    document = dict(config.document)
    inner: dict[str, Any] = dict(document.get("config") or {})
    if edits.entrypoint is not None:
        _set(inner, "Entrypoint", list(edits.entrypoint))
        inner.pop("Cmd", None)
    if edits.cmd is not None:
        _set(inner, "Cmd", list(edits.cmd))
    if edits.env:
        inner["Env"] = _environment(inner.get("Env"), edits.env)
    if edits.labels:
        inner["Labels"] = {**config.labels, **edits.labels}
    if edits.workdir is not None:
        _set(inner, "WorkingDir", edits.workdir)
    if edits.user is not None:
        _set(inner, "User", edits.user)
    document["config"] = inner
    return parse_config(json.dumps(document).encode())


def parse_command(text: str) -> tuple[str, ...]:
    """An entry point or command as Dockerfiles write it: a JSON list, or words run by a shell; empty for none.

    Raises UsageError.
    """
    if not text.strip():
        return ()
    if not text.lstrip().startswith("["):
        return ("/bin/sh", "-c", text)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise UsageError(
            f'{text!r} is no command: write a JSON list, as in \'["python", "/app.py"]\', or words for a shell'
        )
    return tuple(found)


def parse_pairs(items: Sequence[str], what: str) -> dict[str, str]:
    """`KEY=VALUE`, each. Raises UsageError."""
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not key or not equals or "\0" in item:
            raise UsageError(f"{item!r} is no {what}: write KEY=VALUE")
        found[key] = value
    return found


def _set(inner: dict[str, Any], key: str, value: Any) -> None:
    if value:
        inner[key] = value
    else:
        inner.pop(key, None)


def _environment(base: Any, more: Mapping[str, str]) -> list[str]:
    """The base's variables in their order, those that are set again in their place, new ones behind."""
    found = {}
    for item in base if isinstance(base, list) else ():
        key, _, value = str(item).partition("=")
        found[key] = value
    found.update(more)
    return [f"{key}={value}" for key, value in found.items()]
