"""The versions in a place of OCI content: model NAME lies in repository PREFIX/NAME, version LABEL under the tag LABEL."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from hoist.config import author
from hoist.errors import Conflict, Damaged, FileNotFound, InvalidReference, VersionNotFound
from hoist.model.image.labels import ImageVersion
from hoist.model.reference import check_name, is_label
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.storage.base import Publication, Tag, Version
from hoist.storage.image.history import (
    check_free,
    drop_history,
    drop_orphans,
    read_history,
    without_histories,
    write_history,
)
from hoist.storage.image.holders import Holders
from hoist.storage.image.opened import Image, Named
from hoist.storage.image.publication import ImagePublication
from hoist.storage.image.reading import ImageReader
from hoist.storage.image.sending import Sender
from hoist.storage.image.signatures import drop_signatures, signatures_of
from hoist.storage.moves import ANY, TagMove, Whatever, check_before, check_untagged, happened, move_of
from hoist.storage.oci.repositories import Repositories
from hoist.storage.seen import Seen

# What signs or describes an image under a name made of its digest, and the same model for other programs.
_ASIDE = re.compile(r"sha256-[0-9a-f]{64}(\..*)?|.*-modelpack", re.DOTALL)
_TAGS_AT_ONCE = 2 * SMALL_AT_ONCE


class ImageStorage(ImageReader):
    """A storage over repositories; `prefix` is what stands before the names of models, empty for nothing."""

    def __init__(self, repositories: Repositories, prefix: str, kind: str) -> None:
        super().__init__(repositories, kind)
        self._prefix = prefix
        self._unlisted: dict[Version, str] = {}

    def unlisted(self) -> Mapping[Version, str]:
        return dict(self._unlisted)

    def versions(self, name: str = "") -> Iterator[Version]:
        found = self._named(name)
        yield from sorted(Version(model, tag) for model, tag, held in found if held.label == tag)

    def seen_versions(self, name: str = "") -> Mapping[Version, Seen]:
        return self.survey(name)[0]

    def survey(self, name: str = "") -> tuple[Mapping[Version, Seen], Sequence[Tag]]:
        # The images say which manifests they hold; nothing says when they were pushed.
        found = self._named(name)
        versions = {Version(model, tag): Seen(digest=held.digest) for model, tag, held in found if held.label == tag}
        return versions, [Tag(model, tag, held.label, held.digest) for model, tag, held in found if held.label != tag]

    def tags(self, name: str = "") -> Iterator[Tag]:
        found = sorted(each for each in self._named(name) if each[2].label != each[1])
        yield from (Tag(model, tag, held.label, held.digest) for model, tag, held in found)

    def find_tag(self, name: str, tag: str) -> Tag | None:
        try:
            held = _held(self.images.named(self.repository_of(name), tag).image, name, tag)
        except FileNotFound:
            return None
        return Tag(name, tag, held.label, held.digest) if held and held.label != tag else None

    def look_up(self, version: Version) -> tuple[Image, ImageVersion]:
        absent = VersionNotFound(f"{self.address} has no version {version}")
        if not is_label(version.label):
            raise absent
        try:
            image = self.images.named(self.repository_of(version.name), version.label).image
        except FileNotFound:
            raise absent from None
        held = _held(image, version.name, version.label)
        if image is None or held is None or held.label != version.label:
            raise absent
        return image, held

    def occupied(self, version: Version, *, replace_unfinished: bool = False) -> bool:
        check_free(version.label)
        named = self.tagged(version.name, version.label)
        return named is not None and self._refuse_others(version, named) is not None

    def begin(self, version: Version, digest: str, *, replace_unfinished: bool = False) -> Publication:
        return self._publication(version, done=self.is_done(version, digest))

    def begin_ahead(self, version: Version) -> Publication | None:
        if self.occupied(version):
            raise Conflict(f"{version} exists in {self.address}: a version never changes; use another label")
        return self._publication(version, done=False)

    def is_done(self, version: Version, digest: str) -> bool:
        """Whether the version is there with this digest. Raises Conflict if something else has its label."""
        check_free(version.label)
        named = self.tagged(version.name, version.label)
        if named is None:
            return False
        held = self._refuse_others(version, named)
        if held.digest != digest:
            raise Conflict(
                f"{version} exists in {self.address} with other content: a version never changes; use another label"
            )
        return True

    def set_tag(self, tag: Tag, *, before: Tag | Whatever | None = ANY, note: str = "") -> None:
        check_free(tag.tag)
        named = self._named_version(tag)
        stands = self.tagged(tag.name, tag.tag)
        now = self._tag_of(tag, stands) if stands else None
        check_before(self.address, tag, before, now)
        if now == tag and stands and stands.document.digest == named.document.digest:
            return
        repository = self.repository_of(tag.name)
        history = read_history(self.repositories, repository, tag.name, tag.tag)
        moves = [*happened(history.moves, now), move_of(tag, now, time.time(), author(), note)]
        write_history(self.repositories, repository, tag.tag, moves)
        self.repositories.put_manifest(repository, tag.tag, named.document.data, named.document.media_type)
        drop_history(self.repositories, repository, history.digest)
        try:
            self._named_version(tag)
        except VersionNotFound:
            self._put_back(tag, stands if now and self._has(Version(tag.name, now.label)) else None)
            raise

    def tag_moves(self, name: str, tag: str = "") -> Sequence[TagMove]:
        found = for_each(lambda each: self._moves(name, each), [tag] if tag else self.labels(name), _TAGS_AT_ONCE)
        return [move for moves in found for move in moves]

    def remove_tag(self, name: str, tag: str) -> None:
        if self.find_tag(name, tag) is None:
            raise VersionNotFound(f"{self.address} has no tag {name}:{tag}")
        repository = self.repository_of(name)
        self.repositories.untag(repository, tag)
        with suppress(Conflict):
            drop_history(self.repositories, repository, read_history(self.repositories, repository, name, tag).digest)

    def remove(self, version: Version, *, unless_tagged: bool = False) -> None:
        image, _ = self.look_up(version)
        if unless_tagged:
            check_untagged(self.address, version, self.tags(version.name))
        repository = self.repository_of(version.name)
        signatures = signatures_of(self.repositories, image)
        try:
            self.repositories.delete_manifest(repository, self.repositories.manifest(repository, version.label).digest)
        except FileNotFound:
            raise VersionNotFound(f"{self.address} has no version {version}") from None
        finally:
            self.forget(version)
        drop_signatures(self.repositories, image, signatures)
        drop_orphans(self.repositories, repository)

    def repository_of(self, name: str) -> str:
        """Where a model's versions lie."""
        return f"{self._prefix}/{name}" if self._prefix else name

    def tagged(self, name: str, tag: str) -> Named | None:
        """What a tag of a model's repository names; None if there is no such tag."""
        try:
            return self.images.named(self.repository_of(name), tag)
        except FileNotFound:
            return None

    def labels(self, name: str) -> list[str]:
        """All tags of a model's repository that may be Hoist's, in order."""
        return [
            tag
            for tag in without_histories(self.repositories.tags(self.repository_of(name)))
            if is_label(tag) and not _ASIDE.fullmatch(tag)
        ]

    def _named_version(self, tag: Tag) -> Named:
        """What has the version that a tag shall name. Raises VersionNotFound."""
        named = self.tagged(tag.name, tag.label)
        held = _held(named.image, tag.name, tag.label) if named else None
        if named is None or held is None or (held.label, held.digest) != (tag.label, tag.digest):
            version = Version(tag.name, tag.label)
            raise VersionNotFound(f"{self.address} has no version {version} of {tag.digest}: a tag needs one to name")
        return named

    def _tag_of(self, tag: Tag, stands: Named) -> Tag:
        """What stands where a tag shall be. Raises Conflict if it is no tag."""
        held = _held(stands.image, tag.name, tag.tag)
        if held is None:
            raise Conflict(f"{tag.name}:{tag.tag} in {self.address} is another image: a tag needs another name")
        if held.label == tag.tag:
            raise Conflict(f"{tag.name}:{tag.tag} is a version in {self.address}: a tag needs another name")
        return Tag(tag.name, tag.tag, held.label, held.digest)

    def _has(self, version: Version) -> bool:
        try:
            self.look_up(version)
        except VersionNotFound:
            return False
        return True

    def _put_back(self, tag: Tag, before: Named | None) -> None:
        """What stood there before stands there again, unless somebody has moved the tag since."""
        if self.find_tag(tag.name, tag.tag) != tag:
            return
        repository = self.repository_of(tag.name)
        if before is None:
            self.remove_tag(tag.name, tag.tag)
        else:
            document = before.document
            self.repositories.put_manifest(repository, tag.tag, document.data, document.media_type)

    def _moves(self, name: str, tag: str) -> list[TagMove]:
        now = self.find_tag(name, tag)
        if now is None:
            return []
        try:
            return happened(read_history(self.repositories, self.repository_of(name), name, tag).moves, now)
        except Conflict:
            return []

    def _publication(self, version: Version, *, done: bool) -> ImagePublication:
        sender = Sender(self.repositories, self.repository_of(version.name), version.name)
        return ImagePublication(self, version, sender, Holders(self, version), done=done)

    def _named(self, name: str) -> list[tuple[str, str, ImageVersion]]:
        """Each tag of all models, or of one, and the version that it means."""
        for left_out in [each for each in self._unlisted if name in ("", each.name)]:
            self._unlisted.pop(left_out, None)
        names = [name] if name else list(self._names())
        listed = for_each(lambda each: [(each, tag) for tag in self.labels(each)], names, SMALL_AT_ONCE)
        pairs = [pair for each in listed for pair in each]
        found = for_each(lambda pair: self._meant(*pair), pairs, _TAGS_AT_ONCE)
        return [(*pair, held) for pair, held in zip(pairs, found, strict=True) if held]

    def _names(self) -> Iterator[str]:
        for repository in self.repositories.repositories(self._prefix):
            if repository == self._prefix:
                continue
            with suppress(InvalidReference):
                yield check_name(repository.removeprefix(f"{self._prefix}/") if self._prefix else repository)

    def _meant(self, name: str, tag: str) -> ImageVersion | None:
        try:
            return _held(self.images.named(self.repository_of(name), tag).image, name, tag)
        except (FileNotFound, Damaged) as error:
            # Gone since it was listed, or nothing that Hoist can read: the others are listed all the same.
            self._unlisted[Version(name, tag)] = str(error)
            return None

    def _refuse_others(self, version: Version, named: Named) -> ImageVersion:
        held = _held(named.image, version.name, version.label)
        if held is None:
            raise Conflict(f"{version} in {self.address} is an image that holds no such version: use another label")
        if held.label != version.label:
            raise Conflict(f"{version} is a tag in {self.address}: publish under another label, then move the tag")
        return held


def _held(image: Image | None, name: str, tag: str) -> ImageVersion | None:
    """What a tag of a model's repository means: the version of that label, or another one of the model; None: nothing."""
    mine = [held for held in image.versions if held.name == name] if image else []
    return next((held for held in mine if held.label == tag), mine[-1] if mine else None)
