"""What is in a storage: versions and tags by a listing, sizes by manifests, of which each is read once a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hoist.errors import Damaged, HoistError, VersionNotFound
from hoist.model.manifest import Manifest, digest_of
from hoist.parallel import for_each
from hoist.status.sizes import Sized, Sizes
from hoist.storage.base import Storage, Version
from hoist.storage.seen import md5_of
from hoist.sync.state import StorageState

_AT_ONCE = 16
# What was read is remembered after so many: a look that runs out of time goes on there the next time.
_BATCH = 256


@dataclass(frozen=True)
class Content:
    """What a storage holds; `sizes` of the versions of which they are known, `unread` why those of others cannot be."""

    state: StorageState
    sizes: Mapping[Version, Sized]
    unread: Mapping[Version, HoistError]

    @property
    def models(self) -> int:
        """How many models have a version."""
        return len({version.name for version in self.state.versions})

    @property
    def size_bytes(self) -> int:
        """The bytes of all versions whose size is known."""
        return sum(sized.size for sized in self.sizes.values())

    @property
    def unsized(self) -> int:
        """How many versions have a size that is not known."""
        return len(self.state.versions) - len(self.sizes)


def measure(storage: Storage, state: StorageState, sizes: Sizes, tell: Callable[[Content], object]) -> Content:
    """Find the size of each version that was seen; `tell` is told how far it is. Raises what a storage may.

    The state that is given back knows the digest of each version whose size is known: so others are compared with it.
    """
    known: dict[Version, Sized] = {}
    unread: dict[Version, HoistError] = {}
    for version, seen in state.versions.items():
        if sized := sizes.recall(seen):
            known[version] = sized
    tell(_content(state, known, unread))
    missing = [version for version in state.versions if version not in known]
    for first in range(0, len(missing), _BATCH):
        batch = missing[first : first + _BATCH]
        for version, found in zip(batch, for_each(lambda each: _read(storage, each), batch, _AT_ONCE), strict=True):
            if isinstance(found, Sized):
                known[version] = found
            else:
                unread[version] = found
        sizes.note(known[version] for version in batch if version in known)
        tell(_content(state, known, unread))
    return _content(state, known, unread)


def _content(state: StorageState, known: Mapping[Version, Sized], unread: Mapping[Version, HoistError]) -> Content:
    gone = {version for version, error in unread.items() if isinstance(error, VersionNotFound)}
    versions = {
        version: replace(seen, digest=known[version].digest) if version in known else seen
        for version, seen in state.versions.items()
        # Removed since it was listed.
        if version not in gone
    }
    left = {version: error for version, error in unread.items() if version not in gone}
    return Content(replace(state, versions=versions), dict(known), left)


def _read(storage: Storage, version: Version) -> Sized | HoistError:
    try:
        data = storage.read_manifest(version)
        manifest = Manifest.parse(data)
    except (VersionNotFound, Damaged) as error:
        return error
    return Sized(digest_of(data), md5_of(data), manifest.size, len(manifest.files))
