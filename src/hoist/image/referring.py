"""What refers to an image: signatures, attestations and the like, by the registry's own list and by cosign's tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hoist.image.places import Image
from hoist.model.image.descriptor import Descriptor
from hoist.storage.oci.referrers import list_referrer

_COSIGN = re.compile(r"sha256-([0-9a-f]{64})\.(?:sig|att|sbom)")


@dataclass(frozen=True, slots=True)
class Referring:
    """One that refers to the manifest `subject`: by its tag, or by its own digest where it has none."""

    subject: str
    reference: str
    kind: str
    """Its artifact type, or what its tag says it is."""
    descriptor: Descriptor | None = None
    """How the registry's list names it; none of a tag."""

    def __str__(self) -> str:
        return f"{self.reference} ({self.kind})" if self.kind else self.reference


def referring_to(image: Image, digests: Iterable[str]) -> list[Referring]:
    """All that refer to the manifests of these digests, and lie in the image's repository, each once."""
    wanted = dict.fromkeys(digests)
    found: dict[str, Referring] = {}
    for digest in wanted:
        for each in image.place.referrers(image.repository, digest):
            found.setdefault(each.digest, _listed(digest, each))
    for tag in _cosign_tags(image.place.tags(image.repository)):
        subject = f"sha256:{tag[7:71]}"
        if subject in wanted:
            found.setdefault(tag, Referring(subject, tag, tag[72:]))
    return list(found.values())


def keep_listed(target: Image, each: Referring) -> None:
    """See to it that the target's registry lists what was copied there; one without such a list has it under a tag, which
    clients keep: the distribution specification says how."""
    if each.descriptor is not None:
        list_referrer(target.place, target.repository, each.subject, each.descriptor)


def _listed(subject: str, descriptor: Descriptor) -> Referring:
    return Referring(subject, descriptor.digest, descriptor.artifact_type or descriptor.media_type, descriptor)


def _cosign_tags(tags: Sequence[str]) -> list[str]:
    return [tag for tag in tags if _COSIGN.fullmatch(tag)]
