"""How models, versions and places are named.

    reference   NAME[:LABEL] or NAME@sha256:DIGEST       sd15/anything:v5
    location    STORAGE//REFERENCE                       nas//sd15/anything:v5
    STORAGE     a name from hoist.toml, a URL or a path  oss   s3://bucket/prefix   /srv/models

Names follow the grammar of OCI repositories and labels that of OCI tags, so that every storage kind,
a registry included, can hold every version under the same reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hoist.errors import InvalidReference
from hoist.formatting import without_login

DEFAULT_LABEL = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
"""A model's name, and a repository's; how long it may be is each one's own."""
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_MAX_NAME = 200


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One model at one label (a version or a tag) or at one digest; exactly one of the two is set."""

    name: str
    label: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.label}"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """One version (or tag) in one storage. `storage` is a configured name, a URL or a path."""

    storage: str
    reference: Reference

    def __str__(self) -> str:
        return f"{self.storage}//{self.reference}"


def check_name(name: str) -> str:
    """Return `name` if it is a well-formed model name, else raise InvalidReference with the mend."""
    if NAME.fullmatch(name) and len(name) <= _MAX_NAME:
        return name
    hint = ""
    lowered = re.sub(r"[^a-z0-9._/-]+", "-", name.lower()).strip("-./_")
    if lowered != name and NAME.fullmatch(lowered):
        hint = f"; did you mean {lowered!r}?"
    raise InvalidReference(
        f"invalid model name {name!r}: use lower-case letters, digits, '.', '_' and '-' between slashes, "
        f"as in 'sd15/anything', {_MAX_NAME} characters at most{hint}"
    )


def is_label(text: str) -> bool:
    """Whether `text` is a well-formed version or tag."""
    return bool(_LABEL.fullmatch(text))


def check_label(label: str) -> str:
    """Return `label` if it is a well-formed version or tag, else raise InvalidReference."""
    if is_label(label):
        return label
    raise InvalidReference(
        f"invalid version or tag {label!r}: use letters, digits, '.', '_' and '-', not '.' or '-' first, "
        "128 characters at most"
    )


def is_digest(text: str) -> bool:
    """Whether `text` is `sha256:` and 64 hexadecimal digits."""
    return bool(_DIGEST.fullmatch(text))


def check_digest(digest: str) -> str:
    """Return `digest` if it is `sha256:` and 64 hexadecimal digits, else raise InvalidReference."""
    if is_digest(digest):
        return digest
    raise InvalidReference(f"invalid digest {digest!r}: it must be 'sha256:' and 64 lower-case hex digits")


def parse_reference(text: str) -> Reference:
    """Parse `NAME`, `NAME:LABEL` or `NAME@sha256:DIGEST`; a bare name means its `latest` tag.

    Raises InvalidReference.
    """
    if "@" in text:
        name, _, digest = text.partition("@")
        return Reference(check_name(name), digest=check_digest(digest))
    name, colon, label = text.partition(":")
    return Reference(check_name(name), label=check_label(label) if colon else DEFAULT_LABEL)


def split_location(text: str) -> tuple[str, str]:
    """Split `STORAGE//REFERENCE` into its two texts; either may be wrong still. Raises InvalidReference."""
    scheme = _SCHEME.match(text)
    start = scheme.end() if scheme else 0
    if text.startswith("file:///"):
        start += 1
    at = text.find("//", start)
    if at <= 0 or not text[at + 2 :]:
        raise InvalidReference(
            f"{without_login(text)!r} is not a location: write STORAGE//NAME:VERSION, as in nas//sd15/anything:v5, "
            "s3://bucket/prefix//sd15/anything:v5 or /srv/models//sd15/anything:v5"
        )
    return text[:at], text[at + 2 :]


def parse_location(text: str) -> Location:
    """Parse `STORAGE//REFERENCE`. Raises InvalidReference."""
    storage, reference = split_location(text)
    return Location(storage, parse_reference(reference))


def looks_like_location(text: str) -> bool:
    """Whether `text` has the shape of a location, so that a plain path is told from one."""
    try:
        parse_location(text)
    except InvalidReference:
        return False
    return True
