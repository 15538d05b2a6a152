"""What every storage does: the one interface that all verbs use.

A storage is a place where versions live. Reading is `read_into`: the storage fills memory that the caller owns, and
keeps no reference to it. Writing is a `Publication`: files first, the manifest last, and what has no manifest does
not exist. A storage raises nothing but `HoistError`s: foreign errors are translated at its edge.
All methods may be called from several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hoist.errors import Damaged, FileNotFound, HoistError, PermissionDenied, StorageUnsupported, VersionNotFound
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.model.reference import Reference
from hoist.storage.moves import ANY, TagMove, Whatever
from hoist.storage.publishing import Content, Neighbours, OnBytes, Publication
from hoist.storage.staging import Staging
from hoist.storage.values import Leftover, StoredFile, Tag, Traits, Version

if TYPE_CHECKING:
    from hoist.storage.seen import Seen

__all__ = [
    "Content",
    "Leftover",
    "Neighbours",
    "OnBytes",
    "Publication",
    "Storage",
    "StoredFile",
    "Tag",
    "Traits",
    "Version",
]


class Storage(ABC):
    """A place where versions live. Use as a context manager, or call `close`."""

    address: str
    """How the user named it: for messages; holds no secret."""
    kind: str
    """`image`, `nas`, `oss` or `accl`; `any` for several as one."""
    traits: Traits
    required_signers: tuple[tuple[str, ...], ...] = ()
    """Who has to have signed a version that is opened here: of each group one, named as `require_signature` does."""

    @abstractmethod
    def versions(self, name: str = "") -> Iterator[Version]:
        """All versions, in order; with `name` only those of that model.

        Raises StorageNotFound, PermissionDenied, StorageUnavailable, as every method may.
        """

    def dated_versions(self) -> Iterator[tuple[Version, float]]:
        """All versions, each with when it was published, in seconds since the epoch; 0 where that is not known."""
        return ((version, 0.0) for version in self.versions())

    def seen_versions(self, name: str = "") -> Mapping[Version, Seen]:
        """All versions, or those of one model, each with by what its content is known again: as few requests as can be."""
        from hoist.storage.seen import read_seen

        return read_seen(self, (pair for pair in self.dated_versions() if name in ("", pair[0].name)))

    def survey(self, name: str = "") -> tuple[Mapping[Version, Seen], Sequence[Tag]]:
        """`seen_versions` and `tags` together. What a tag names was there before the tag: tags are looked at first."""
        tags = list(self.tags(name))
        return self.seen_versions(name), tags

    @abstractmethod
    def tags(self, name: str = "") -> Iterator[Tag]:
        """All tags, in order; with `name` only those of that model."""

    @abstractmethod
    def find_tag(self, name: str, tag: str) -> Tag | None:
        """One tag, or None."""

    @abstractmethod
    def read_manifest(self, version: Version) -> bytes:
        """The manifest's exact bytes. Raises VersionNotFound."""

    @abstractmethod
    def read_blob(self, version: Version, digest: str, size: int) -> bytes:
        """The document of that digest and size, not verified. Raises FileNotFound."""

    @abstractmethod
    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        """Fill the whole of `buffer` with the file's bytes from `offset`, not verified: a cache on the way may give those of
        a version that had the label before, but where they are asked for `afresh`.

        The caller owns the buffer; after an error its content is undefined. Raises FileNotFound, Damaged if the file
        is shorter than that, StorageUnavailable if it is worth trying again.
        """

    def read_packs(self, version: Version, manifest_digest: str, most: int) -> bytes:
        """The pack index of a version with this manifest, not verified. Raises FileNotFound if there is none, Damaged if
        it has more than `most` bytes."""
        raise FileNotFound(f"{self.address} has no packs of {version}")

    def read_pack_into(self, version: Version, pack: str, offset: int, buffer: memoryview) -> None:
        """As `read_into`, from the pack of this digest."""
        raise FileNotFound(f"{self.address} has no packs of {version}")

    def first_byte_seconds(self) -> float | None:
        """How long the first byte of a ranged read usually takes, of late; None where that is not known."""
        return None

    def throttled(self) -> int:
        """How many answers have said so far, with the bytes that were asked for, that the storage holds them back."""
        return 0

    def local_path(self, file: StoredFile) -> Path | None:
        """A local file to map now instead of reading, where that is as good as reading; None anywhere else."""
        return None

    def is_local(self, file: StoredFile) -> bool:
        """Whether there is a local path; this only asks, where `local_path` may be counted as a read."""
        return self.local_path(file) is not None

    def occupied(self, version: Version, *, replace_unfinished: bool = False) -> bool:
        """A look before anything is sent: whether a version or an unfinished publish has the label, so that it matters
        which content this one is of. `begin` decides. Raises Conflict where it would refuse any content."""
        return False

    def staging(self, version: Version, sizes: Collection[int], journals: Path | None = None) -> Staging | None:
        """Where files wait whose version's digest is not known yet; None if this storage keeps nothing private.

        `sizes` are those of the files; `journals` is a folder of this host's notes, for going on with what was killed.
        """
        return None

    @abstractmethod
    def begin(self, version: Version, digest: str, *, replace_unfinished: bool = False) -> Publication:
        """Claim a label for the version whose manifest has this digest.

        Raises Conflict if the version exists with another digest, its name is in the way of another, or an unfinished
        publish of other content holds the label (`replace_unfinished` takes it over).
        """

    def begin_ahead(self, version: Version) -> Publication | None:
        """As `begin`, before it is known which content it will be, so that files are put as soon as each is hashed; `commit`
        says which it was. None where a label is claimed for one content. Raises Conflict if the label is taken."""
        return None

    @abstractmethod
    def set_tag(self, tag: Tag, *, before: Tag | Whatever | None = ANY, note: str = "") -> None:
        """Create or move a tag, by compare-and-swap where the storage has it, and note the move in its history.

        `before` is what the caller saw there (None: no such tag). Raises Conflict if something else stands there by now, and
        VersionNotFound if the storage has no version of that label and digest, or it was removed meanwhile: then what stood
        there before stands there again. A tag that is right already is left as it is, without a move.
        """

    def tag_moves(self, name: str, tag: str = "") -> Sequence[TagMove]:
        """The last 100 moves of each tag of a model, or of one of them: by tag, the oldest first. A tag that was removed has
        none. Empty where a storage keeps no history."""
        return ()

    @abstractmethod
    def remove_tag(self, name: str, tag: str) -> None:
        """Remove a tag, and its history. Raises VersionNotFound."""

    @abstractmethod
    def remove(self, version: Version, *, unless_tagged: bool = False) -> None:
        """Remove a version: its manifest first, so that it is gone at once. Raises VersionNotFound.

        `unless_tagged`: raise Conflict, naming them, if it has tags. That is looked at when the removal is announced, so
        that nobody gives it one meanwhile.
        """

    def signatures(self, version: Version, hints: Collection[str] = ()) -> Sequence[bytes]:
        """The signatures of a version, none of them believed: Sigstore bundles (`hoist.signing`); none where there are none.

        With `hints` those by other keys may be left out (see `Bundle.hint`), which spares requests. Raises VersionNotFound
        where the storage would have to know the version for it.
        """
        return ()

    def add_signature(self, version: Version, digest: str, data: bytes) -> None:
        """Keep a signature of the version, whose manifest has this digest; one by the same key may go for it.

        Raises VersionNotFound, Conflict if the version has another digest, Damaged for what is no bundle, and
        StorageUnsupported where signatures have no place.
        """
        raise StorageUnsupported(f"{self.address} keeps no signatures")

    def leftovers(self, older_than: float) -> Sequence[Leftover]:
        """What killed publishes and removals have left, and nothing has touched since `older_than` (seconds since the
        epoch). Never a file of a version. Raises StorageUnsupported where that cannot be told."""
        raise StorageUnsupported(f"{self.address} cannot tell what killed publishes have left")

    def collect(self, leftover: Leftover, older_than: float) -> bool:
        """Delete it, after looking again; False if it is in use by now."""
        raise StorageUnsupported(f"{self.address} cannot tell what killed publishes have left")

    def unlisted(self) -> Mapping[Version, str]:
        """What listings have left out so far because it could not be read, and why: a version, a tag, or somebody else's."""
        return {}

    def stored_sizes(self, version: Version, path: str = "") -> Mapping[str, int] | None:
        """What lies under a version's label by the storage's own word, files that no manifest names too: the size in bytes
        by path; with `path` only that one, if it is there. None where that cannot be told without reading."""
        return None

    def restore_file(
        self, version: Version, entry: FileEntry, content: Content, neighbours: Neighbours | None = None
    ) -> None:
        """Write over a file of a version that is damaged or missing, with `content`: verified bytes. Atomic: a killed one
        leaves what was there. Other versions that share its bytes by a link keep what they have. `neighbours` gives the
        files that can only be written together with it, by default as they are there.

        Raises Conflict if the version is gone or another by now, StorageUnsupported where nothing can be written over,
        and what `content` does.
        """
        raise self._unrestorable(version)

    def restore_from(self, version: Version, entry: FileEntry, held: StoredFile) -> bool:
        """As `restore_file`, with another file of this storage, whose bytes were just verified, moving none; False if it
        cannot."""
        return False

    def restore_document(self, version: Version, data: bytes) -> None:
        """Write over the config or the block table of a version. Raises Conflict if its manifest names no such document,
        StorageUnsupported."""
        raise self._unrestorable(version)

    def restore_manifest(self, version: Version, data: bytes) -> None:
        """Write over a manifest that cannot be read. Raises Conflict if it can, or is gone; StorageUnsupported."""
        raise self._unrestorable(version)

    def _unrestorable(self, version: Version) -> StorageUnsupported:
        return StorageUnsupported(
            f"{self.address} writes nothing over what it has: remove {version} there and copy it again"
        )

    @abstractmethod
    def exclusive(self) -> bool:
        """Whether two publishers of one version cannot both win here; False where conditional writes are ignored."""

    @abstractmethod
    def close(self) -> None:
        """Release connections. The storage cannot be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def resolve(self, reference: Reference) -> tuple[Version, Manifest]:
        """The version that a reference means, and its manifest. Raises VersionNotFound with what there is."""
        if reference.digest:
            return self._by_digest(reference, reference.digest)
        label = reference.label or ""
        version = Version(reference.name, label)
        try:
            return version, Manifest.parse(self.read_manifest(version))
        except (VersionNotFound, PermissionDenied) as refused:
            # Who may not list a bucket is refused what is not there, as if it were a secret: the tag may be.
            tag = self._tag_instead(reference, label, refused)
        return self._tagged(reference, tag)

    def _tagged(self, reference: Reference, tag: Tag) -> tuple[Version, Manifest]:
        """The version that a tag names, and its manifest."""
        if not tag.label:
            raise Damaged(f"the tag {reference} in {self.address} is damaged: set it again with hoist tag")
        version = Version(tag.name, tag.label)
        manifest = Manifest.parse(self.read_manifest(version))
        if manifest.digest != tag.digest:
            raise VersionNotFound(f"tag {reference} points at {tag.digest}, but {version} is {manifest.digest}")
        return version, manifest

    def _tag_instead(self, reference: Reference, label: str, refused: HoistError) -> Tag:
        with suppress(PermissionDenied):
            tag = self.find_tag(reference.name, label)
            if tag is not None:
                return tag
        raise refused if isinstance(refused, PermissionDenied) else self._not_found(reference) from None

    def _by_digest(self, reference: Reference, digest: str) -> tuple[Version, Manifest]:
        for version in self.versions(reference.name):
            try:
                data = self.read_manifest(version)
            except VersionNotFound:
                # Removed since it was listed.
                continue
            if digest_of(data) == digest:
                return version, Manifest.parse(data)
        raise self._not_found(reference)

    def _not_found(self, reference: Reference) -> VersionNotFound:
        from hoist.storage.nearest import describe_absence

        return VersionNotFound(describe_absence(self, reference))
