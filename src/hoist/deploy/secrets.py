"""What must never land in a file: found by how it looks, by its name, and by what this user's environment holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hoist.errors import UsageError
from hoist.storage.translate import redact

_NAME = re.compile(
    r"(?i)(?:^|_|-)(?:secret|password|passwd|token|credential|credentials|access_?key(?:_?id)?|private_?key|api_?key)(?:$|_|-)"
    r"|(?:secret|password|token|accesskeyid|accesskeysecret|apikey)$"
)
_LOOKS = (
    ("an access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bLTAI[A-Za-z0-9]{12,30}\b")),
    (
        "a token",
        re.compile(
            r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|AIza[A-Za-z0-9_-]{30,})"
        ),
    ),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a URL with a password", re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@'\"]+@")),
    ("a bearer token", re.compile(r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{8,}")),
    (
        "a signed URL",
        re.compile(
            r"(?i)[?&](?:x-amz-(?:signature|credential|security-token)|x-oss-signature|signature|sig|access_token)="
        ),
    ),
)
_REFERENCE = re.compile(r"\$\{[^}]*\}")
_LEAST_KNOWN = 8
_PAIR = re.compile(r"((?P<name>[\w.-]+)['\"]?\s*:\s*)(?:'[^']*'|\"[^\"]*\"|(?!['\"]?\$\{)[^\s,{}'\"]+)")
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
HIDDEN = "***"


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name usually holds a secret."""
    return bool(_NAME.search(name))


def secret_in(text: str, known: Iterable[str] = ()) -> str | None:
    """What secret a text seems to hold, in words; None for none. `known` are secrets themselves."""
    bare = _REFERENCE.sub("", text)
    for what, pattern in _LOOKS:
        if pattern.search(bare):
            return what
    return "a secret of this environment" if any(value in bare for value in known) else None


def known_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets that this environment holds, by their variables' names."""
    found = (value for name, value in environ.items() if is_secret_name(name))
    return tuple(sorted({value for value in found if len(value) >= _LEAST_KNOWN and "/" not in value[:1]}))


def refuse_secrets(data: Any, known: Iterable[str] = (), where: str = "") -> None:
    """Raise UsageError where data that is about to be written holds a secret; the message names only the place."""
    known = tuple(known)
    for path, text in _texts(data, where):
        what = secret_in(text, known)
        if what:
            raise UsageError(
                f"{path} would hold {what}, and a file that is written shall hold none: give the platform's secret or "
                "variable by its name instead, and take it out of the address"
            )


def check_variable(name: str, value: str) -> None:
    """Raise UsageError for a variable whose value must not be written down."""
    if is_secret_name(name) and not _REFERENCE.fullmatch(value):
        raise UsageError(f"--env {name}: its value would be written to a file; have it come from a secret instead")


def hide(text: str, known: Iterable[str] = ()) -> str:
    """`text` with its secrets hidden, to be shown: those that look so, and values of fields that are named so."""
    shown = _KEY_BLOCK.sub(HIDDEN, redact(text))
    for _, pattern in _LOOKS[:-1]:
        shown = pattern.sub(HIDDEN, shown)
    for value in known:
        shown = shown.replace(value, HIDDEN)
    return "".join(_hide_value(line) for line in shown.splitlines(keepends=True))


def hide_user(text: str) -> str:
    """`text` without who logs in, where it is the address of something."""
    return re.sub(r"[^/\s]+@", f"{HIDDEN}@", text)


def _hide_value(line: str) -> str:
    """Hide what stands after a secret's name, to the end of the line, or within the braces of a table on one line."""
    found = re.match(r"([-+ ]*(?:- )?['\"]?(?P<name>[\w.-]+)['\"]?\s*:\s+)(?P<value>\S.*?)(\s*)$", line, re.DOTALL)
    if found and is_secret_name(found["name"]) and not _REFERENCE.search(found["value"]):
        return f"{found[1]}{HIDDEN}{found[4]}"
    return _PAIR.sub(lambda pair: f"{pair[1]}{HIDDEN}" if is_secret_name(pair["name"]) else pair[0], line)


def _texts(data: Any, path: str) -> Iterable[tuple[str, str]]:
    if isinstance(data, Mapping):
        for key, item in data.items():
            yield from _texts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list | tuple):
        for at, item in enumerate(data):
            yield from _texts(item, f"{path}[{at}]")
    elif isinstance(data, str):
        yield path, data
