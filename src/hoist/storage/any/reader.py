"""Reading a logical storage: from the first member that can give what is wanted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

from hoist.errors import (
    Damaged,
    FileNotFound,
    HoistError,
    NotFound,
    StorageNotFound,
    VersionNotFound,
)
from hoist.model.manifest import Manifest, digest_of
from hoist.model.reference import Reference
from hoist.storage.any.asking import Asking
from hoist.storage.any.buffers import Buffers
from hoist.storage.any.member import Health, Member
from hoist.storage.any.reading import Reading
from hoist.storage.base import Storage, StoredFile, Tag, Version
from hoist.storage.moves import TagMove
from hoist.storage.seen import Seen

Result = TypeVar("Result")

_MOST_PINNED = 4096


class AnyReader(Storage):
    """Storages as one, in order of preference, to read. `members` are their names and what opens each, sending nothing.

    A version that it has handed out is read only from members that hold it with the same digest.
    """

    kind = "any"

    def __init__(self, address: str, members: Sequence[tuple[str, Callable[[], Storage]]]) -> None:
        self.address = address
        buffers = Buffers()
        self._members = tuple(Member(name, open_it, buffers) for name, open_it in members)
        self._asking = Asking(address, self._members)
        self._reading = Reading(self._asking)
        self._lock = Lock()
        self._pinned: OrderedDict[Version, str] = OrderedDict()
        self.traits = self._first_opened().traits

    def health(self) -> Sequence[Health]:
        """How the members do, in order, by what has been asked of them so far."""
        return [member.health() for member in self._members]

    def check(self) -> Sequence[tuple[Health, float | None]]:
        """How the members do now, and in how many seconds each has answered something small; None: it has not."""
        took = [member.answer_seconds() for member in self._members]
        return [(member.health(), seconds) for member, seconds in zip(self._members, took, strict=True)]

    # What there is.

    def versions(self, name: str = "") -> Iterator[Version]:
        answers = self._asking.everyone(lambda storage: list(storage.versions(name)), "listing versions")
        yield from sorted({version for _, found in answers for version in found})

    def dated_versions(self) -> Iterator[tuple[Version, float]]:
        answers = self._asking.everyone(lambda storage: list(storage.dated_versions()), "listing versions")
        dates: dict[Version, float] = {}
        for _, found in answers:
            for version, published in found:
                dates[version] = dates.get(version) or published
        yield from sorted(dates.items())

    def seen_versions(self, name: str = "") -> Mapping[Version, Seen]:
        return self.survey(name)[0]

    def survey(self, name: str = "") -> tuple[Mapping[Version, Seen], Sequence[Tag]]:
        """As any storage's, of all members: whoever compares by it would take what a lost one has for removed."""
        answers = self._asking.everyone(lambda storage: storage.survey(name), "comparing versions", whole=True)
        seen: dict[Version, Seen] = {}
        for _, (versions, _tags) in reversed(answers):
            seen |= versions
        return dict(sorted(seen.items())), self._by_preference([tags for _, (_, tags) in answers])

    def tags(self, name: str = "") -> Iterator[Tag]:
        answers = self._asking.everyone(lambda storage: list(storage.tags(name)), "listing tags")
        yield from self._by_preference([tags for _, tags in answers])

    @staticmethod
    def _by_preference(several: Sequence[Sequence[Tag]]) -> list[Tag]:
        """The tags of all; where two have one of a name, the first one's."""
        found = {(tag.name, tag.tag): tag for tags in reversed(several) for tag in tags}
        return [found[key] for key in sorted(found)]

    def find_tag(self, name: str, tag: str) -> Tag | None:
        return self._first_with(lambda storage: storage.find_tag(name, tag), f"looking for the tag {name}:{tag}")

    def tag_moves(self, name: str, tag: str = "") -> Sequence[TagMove]:
        return self._first_with(lambda storage: storage.tag_moves(name, tag), f"reading the history of {name}") or ()

    def signatures(self, version: Version, hints: Collection[str] = ()) -> Sequence[bytes]:
        if not hints:
            answers = self._asking.everyone(lambda storage: _signatures(storage, version, ()), "looking for signatures")
            return list(dict.fromkeys(data for _, found in answers for data in found))
        what = f"looking for signatures of {version}"
        return self._first_with(lambda storage: storage.signatures(version, hints), what) or ()

    def read_manifest(self, version: Version) -> bytes:
        def read(storage: Storage) -> bytes:
            data = storage.read_manifest(version)
            # One that means nothing is damaged: another member may have it whole.
            Manifest.parse(data)
            return data

        member, data = self._asking.first(read, f"reading the manifest of {version}")
        self._hand_out(member, version, digest_of(data))
        return data

    def resolve(self, reference: Reference) -> tuple[Version, Manifest]:
        if reference.digest:
            member, (version, manifest) = self._asking.first(
                lambda storage: storage.resolve(reference), f"looking for {reference}"
            )
            self._hand_out(member, version, manifest.digest)
            return version, manifest
        try:
            member, found = self._asking.first(lambda storage: _look_up(storage, reference), f"looking for {reference}")
        except VersionNotFound:
            raise self._not_found(reference) from None
        if isinstance(found, Tag):
            return self._tagged(reference, found)
        self._hand_out(member, found[0], found[1].digest)
        return found

    def _tagged(self, reference: Reference, tag: Tag) -> tuple[Version, Manifest]:
        """As any storage's, from a member where the version is the one that the tag means."""
        version = Version(tag.name, tag.label)

        def read(storage: Storage) -> Manifest:
            found = Manifest.parse(storage.read_manifest(version))
            if found.digest != tag.digest:
                raise VersionNotFound(f"tag {reference} points at {tag.digest}, but {version} is {found.digest}")
            return found

        member, manifest = self._asking.first(read, f"reading the manifest of {version}")
        self._hand_out(member, version, manifest.digest)
        return version, manifest

    # What is in a version.

    def read_blob(self, version: Version, digest: str, size: int) -> bytes:
        def read(storage: Storage) -> bytes:
            data = storage.read_blob(version, digest, size)
            if digest_of(data) != digest:
                raise Damaged(f"the document {digest} of {version} in {storage.address} is damaged")
            return data

        return self._asking.first(read, f"reading a document of {version}")[1]

    def read_into(self, file: StoredFile, offset: int, buffer: memoryview) -> None:
        self._reading.read(
            file.version,
            self._pin(file.version),
            file.entry.path,
            lambda storage, view: storage.read_into(file, offset, view),
            buffer,
            file,
        )

    def read_packs(self, version: Version, manifest_digest: str, most: int) -> bytes:
        def read(storage: Storage) -> bytes | HoistError:
            try:
                return storage.read_packs(version, manifest_digest, most)
            except (FileNotFound, Damaged) as error:
                # Its plain files are nearer than another member's packs.
                return error

        found = self._asking.first(read, f"reading the pack index of {version}")[1]
        if isinstance(found, HoistError):
            raise found
        return found

    def read_pack_into(self, version: Version, pack: str, offset: int, buffer: memoryview) -> None:
        self._reading.read(
            version,
            self._pin(version),
            pack,
            lambda storage, view: storage.read_pack_into(version, pack, offset, view),
            buffer,
            # Whoever is left may have no packs: then the plain files are read.
            optional=True,
        )

    def first_byte_seconds(self) -> float | None:
        first = next((each.opened for each in self._asking.well() if each.opened), None)
        return first.first_byte_seconds() if first else None

    def throttled(self) -> int:
        return sum(member.opened.throttled() for member in self._members if member.opened)

    def local_path(self, file: StoredFile) -> Path | None:
        member = self._nearest(file)
        return member.local_path(file) if member else None

    def is_local(self, file: StoredFile) -> bool:
        member = self._nearest(file)
        return member is not None and member.is_here(file)

    def _first_with(self, call: Callable[[Storage], Result | None], what: str) -> Result | None:
        """What the first member says that has anything to say; None if none has."""

        def ask(storage: Storage) -> Result:
            found = call(storage)
            if not found:
                raise VersionNotFound(f"{self.address} has nothing of it")
            return found

        try:
            return self._asking.first(ask, what)[1]
        except VersionNotFound:
            return None

    def _nearest(self, file: StoredFile) -> Member | None:
        """Who would be asked for the file now, if that is known and needs no other."""
        with suppress(HoistError):
            digest = self._pin(file.version)
            for member in self._asking.well():
                if member.known.trusts(file.version, file.entry.path) and member.holds(file.version, digest):
                    return member
        return None

    def _hand_out(self, member: Member, version: Version, digest: str) -> None:
        member.known.found(version, digest)
        with self._lock:
            self._pinned[version] = digest
            self._pinned.move_to_end(version)
            if len(self._pinned) > _MOST_PINNED:
                self._pinned.popitem(last=False)

    def _pin(self, version: Version) -> str:
        """The digest that the version has been handed out with. Raises FileNotFound where it is not there."""
        with self._lock:
            found = self._pinned.get(version)
        if found is not None:
            return found
        try:
            return digest_of(self.read_manifest(version))
        except VersionNotFound as error:
            raise FileNotFound(str(error)) from None

    def _forget(self, version: Version) -> None:
        with self._lock:
            self._pinned.pop(version, None)
        for member in self._members:
            member.known.forget(version)

    def unlisted(self) -> Mapping[Version, str]:
        found: dict[Version, str] = {}
        for member in reversed(self._members):
            found |= member.opened.unlisted() if member.opened else {}
        return found

    def close(self) -> None:
        for member in self._members:
            member.close()

    def _first_opened(self) -> Storage:
        """The first that can be opened. Raises as the first, if none can."""
        errors = []
        for member in self._members:
            try:
                return member.storage()
            except HoistError as error:
                errors.append(error)
        raise errors[0]


def _signatures(storage: Storage, version: Version, hints: Collection[str]) -> Sequence[bytes]:
    with suppress(NotFound):
        return storage.signatures(version, hints)
    return ()


def _look_up(storage: Storage, reference: Reference) -> tuple[Version, Manifest] | Tag:
    """The version of that label, or the tag. Raises VersionNotFound, PermissionDenied, Damaged."""
    label = reference.label or ""
    version = Version(reference.name, label)
    try:
        return version, Manifest.parse(storage.read_manifest(version))
    except StorageNotFound:
        raise
    except HoistError as refused:
        # Who may not list a bucket is refused what is not there, as if it were a secret: the tag may be.
        with suppress(HoistError):
            tag = storage.find_tag(reference.name, label)
            if tag is not None and tag.label:
                return tag
        raise refused from None
