"""hoist image copy: an image to another place, with the same digest, and with what refers to it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hoist.config import Config
from hoist.errors import FileNotFound, StorageUnsupported
from hoist.image.blobs import Tally, bring_blob, new_tally
from hoist.image.modelpack import SUFFIX
from hoist.image.places import Image
from hoist.image.referring import keep_listed, referring_to
from hoist.model.image.documents import ImageIndex, ImageManifest, parse_image
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.storage.oci.repositories import Document

_BLOBS_AT_ONCE = 4
# A signature may be signed, and that again: no tool goes deeper.
_MOST_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did; `referring` came along."""

    address: str
    digest: str
    manifests: int
    referring: tuple[str, ...]
    sent_bytes: int
    mounted_bytes: int
    there_bytes: int
    seconds: float


def copy_image(source: Image, target: Image, config: Config, progress: Progress) -> Copied:
    """Copy an image, all platforms of it, with signatures, attestations and its ModelPack tag.

    Each manifest is stored byte by byte as it is, so that signatures stay good. Raises VersionNotFound, Damaged,
    StorageUnsupported for what is no image, and what places may.
    """
    began = time.monotonic()
    run = _Copy(source, target, new_tally(progress, config))
    document = source.document()
    progress.begin("copy", run.size(document))
    try:
        run.whole(document, target.address.reference)
        run.referrers()
        if not source.address.reference.startswith("sha256:"):
            run.named(source.address.reference + SUFFIX, target.address.reference + SUFFIX)
    finally:
        progress.end()
    tally = run.tally
    return Copied(
        str(target.address),
        document.digest,
        len(run.done),
        tuple(run.referring),
        tally.sent,
        tally.mounted,
        tally.there,
        time.monotonic() - began,
    )


class _Copy:
    """One copy under way; `done` are the digests of manifests that are there."""

    def __init__(self, source: Image, target: Image, tally: Tally) -> None:
        self.source = source
        self.target = target
        self.tally = tally
        self.done: dict[str, None] = {}
        self.referring: list[str] = []

    def size(self, document: Document) -> int:
        """Bytes of all blobs that an image names, on all its platforms."""
        found: dict[str, int] = {}
        waiting = [document]
        while waiting:
            next_one = waiting.pop()
            parsed = parse_image(next_one.data, next_one.media_type)
            if isinstance(parsed, ImageIndex):
                waiting += [
                    self.source.place.manifest(self.source.repository, each.digest) for each in parsed.manifests
                ]
            elif isinstance(parsed, ImageManifest):
                found |= {blob.digest: blob.size for blob in (parsed.config, *parsed.layers)}
        return sum(found.values())

    def whole(self, document: Document, reference: str) -> None:
        """A manifest with all that it names, the named things first."""
        parsed = parse_image(document.data, document.media_type)
        if isinstance(parsed, ImageIndex):
            for each in parsed.manifests:
                self.whole(self.source.place.manifest(self.source.repository, each.digest), each.digest)
        elif isinstance(parsed, ImageManifest):
            for_each(
                lambda blob: bring_blob(self.source, self.target, blob, self.tally),
                {blob.digest: blob for blob in (parsed.config, *parsed.layers)}.values(),
                _BLOBS_AT_ONCE,
            )
        else:
            raise StorageUnsupported(
                f"{self.source.address} names a document of another kind ({document.media_type}): it cannot be copied"
            )
        self.target.place.put_manifest(self.target.repository, reference, document.data, document.media_type)
        self.done[document.digest] = None

    def referrers(self) -> None:
        """What refers to what was copied, and to that again."""
        fresh = list(self.done)
        for _ in range(_MOST_DEPTH):
            before = set(self.done)
            for each in referring_to(self.source, fresh):
                if each.reference not in self.done and each.reference not in self.referring:
                    self.whole(self.source.place.manifest(self.source.repository, each.reference), each.reference)
                    keep_listed(self.target, each)
                    self.referring.append(each.reference)
            fresh = [digest for digest in self.done if digest not in before]
            if not fresh:
                return

    def named(self, tag: str, new_tag: str) -> None:
        """Another tag, if there is such a one."""
        try:
            document = self.source.place.manifest(self.source.repository, tag)
        except FileNotFound:
            return
        self.whole(document, new_tag)
        self.referring.append(new_tag)
