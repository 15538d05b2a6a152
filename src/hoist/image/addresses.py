"""How images are named: where `hoist image` reads them from and writes them to. Pure.

    scratch                                nothing: an image of models alone
    HOST[:PORT]/REPOSITORY[:TAG]           as docker and podman name images; without a host it is Docker Hub's
    oci://HOST[:PORT]/REPOSITORY[:TAG]     the same, in a registry
    oci-layout:///PATH[:[REPOSITORY:]TAG]  a folder that is an OCI image layout
    oci-archive:///FILE[:[REPOSITORY:]TAG] an uncompressed tar of one; read only

`@sha256:HEX` may stand in the place of `:TAG`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import unquote

from hoist.errors import InvalidReference
from hoist.model.reference import NAME, is_digest
from hoist.storage.oci.index import check_tag

SCRATCH = "scratch"
DEFAULT_TAG = "latest"
Where = Literal["scratch", "registry", "layout", "archive"]
_HUB = "docker.io"
_HOST = re.compile(
    r"localhost(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?|[A-Za-z0-9.-]+(?::[0-9]+)|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
)
_LOCAL: dict[str, Where] = {"oci-layout": "layout", "oci-archive": "archive"}


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """One image. `place` is a registry's HOST[:PORT] or a path; `reference` a tag or digest, empty where none is said."""

    text: str
    where: Where
    place: str = ""
    repository: str = ""
    reference: str = ""

    def __str__(self) -> str:
        return self.text

    @property
    def storage_url(self) -> str:
        """The place as a storage's URL."""
        scheme = {"registry": "oci", "layout": "oci-layout", "archive": "oci-archive"}[self.where]
        return f"{scheme}://{self.place}"

    def at(self, reference: str) -> ImageAddress:
        """The same repository at another tag or digest."""
        tail = f"@{reference}" if is_digest(reference) else f":{reference}"
        if self.where == "registry":
            text = f"{self.place}/{self.repository}{tail}"
        else:
            text = f"{self.storage_url}:{self.repository}{tail}" if self.repository else f"{self.storage_url}{tail}"
        return replace(self, text=text, reference=reference)


def parse_image(text: str) -> ImageAddress:
    """Read an image's name. Raises InvalidReference with the mend."""
    if text == SCRATCH:
        return ImageAddress(text, "scratch")
    scheme, found, rest = text.partition("://")
    if not found:
        return _registry(text, text)
    if scheme in ("oci", "docker"):
        return _registry(text, rest)
    if scheme in _LOCAL:
        return _local(text, _LOCAL[scheme], rest)
    raise InvalidReference(
        f"{text!r} is no image: write HOST/REPOSITORY:TAG, oci-layout:///PATH:TAG or oci-archive:///FILE:TAG"
    )


def _registry(text: str, rest: str) -> ImageAddress:
    first, slash, tail = rest.partition("/")
    if slash and _HOST.fullmatch(first):
        host, name = first, tail
    else:
        host, name = _HUB, rest if slash else f"library/{rest}"
    repository, reference = _split(text, name)
    if not repository or len(repository) > 255:
        raise InvalidReference(f"{text!r} is no image: it names no repository, as in {host}/models/app:v1")
    return ImageAddress(text, "registry", host, repository, reference or DEFAULT_TAG)


def _local(text: str, where: Where, rest: str) -> ImageAddress:
    if not rest.startswith("/"):
        raise InvalidReference(f"{text!r}: a path begins with '/', as in oci-layout:///srv/images:v1")
    # As skopeo reads it: the path ends at the first colon, or where a digest begins.
    path, at, digest = rest.partition("@sha256:")
    path, colon, name = path.partition(":")
    if at:
        name = f"{name}@sha256:{digest}"
    elif colon and ":" not in name and "/" not in name:
        name = f":{check_tag(name)}"
    repository, reference = _split(text, name) if name else ("", "")
    return ImageAddress(text, where, unquote(path), repository, reference)


def _split(text: str, name: str) -> tuple[str, str]:
    """A repository and a tag or digest; either may be empty."""
    name, at, digest = name.partition("@")
    if at and not is_digest(digest):
        raise InvalidReference(f"{text!r} has a bad digest: it must be 'sha256:' and 64 lower-case hex digits")
    repository, colon, tag = name.rpartition(":")
    if not colon:
        repository, tag = name, ""
    if tag or colon:
        check_tag(tag)
    if repository and not NAME.fullmatch(repository):
        raise InvalidReference(
            f"{text!r} is no image: the repository {repository!r} must be of lower-case letters, digits, '.', '_' and "
            "'-' between slashes"
        )
    return repository, digest or tag
