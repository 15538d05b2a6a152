"""Versions: publishing them, finding them, reading them back, bringing them elsewhere, naming and removing them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hoist.config import Config, load_config
from hoist.model.reference import check_label, check_name, parse_location
from hoist.progress import Progress
from hoist.read.connect import connect, open_location
from hoist.read.listing import Listed, list_versions
from hoist.read.version import OpenedVersion
from hoist.signing.signer import open_signer
from hoist.storage.base import Tag, Version
from hoist.transfer.collect import GRACE_SECONDS, Collected, collect_storage
from hoist.transfer.publish import Options, Published, publish_version
from hoist.transfer.pull import Pulled, pull_version
from hoist.transfer.verify import Verified, verify_version

if TYPE_CHECKING:
    from hoist.tensors.inspect import Inspection
    from hoist.transfer.copy import Copied
    from hoist.transfer.sign import Signed


def publish(
    source: str | Path,
    location: str,
    *,
    tags: Sequence[str] = (),
    exclude: Sequence[str] = (),
    replace_unfinished: bool = False,
    checked: bool = True,
    pack_below: int | None = None,
    sign: str | Path | None = None,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Published:
    """Publish a file or folder as an immutable version; running it again resumes, or finds it done.

    `tags` are set afterwards; `exclude` are patterns of files to leave out; `replace_unfinished` takes over a label that
    a dead publish of other content holds; `checked=False` publishes a `.safetensors` file that is none; files below
    `pack_below` bytes are also laid into packs (0: none; default: below 256 KiB, in buckets); `sign` as the key of `sign`.
    Raises InvalidReference, UsageError, FileNotFound, InvalidFile, LocalError, Conflict, and what a storage may.
    """
    where = parse_location(location)
    labels = [check_label(tag) for tag in tags]
    config = config or load_config()
    signer = open_signer(str(sign), config.environ) if sign is not None else None
    storage, engine = connect(where.storage, config)
    limits = engine.config
    options = Options(
        labels,
        exclude,
        replace_unfinished,
        checked,
        uploads=limits.uploads,
        retry_seconds=limits.retry_seconds,
        max_bandwidth=limits.max_bandwidth,
        pack_below=pack_below,
        signer=signer,
    )
    with storage:
        return publish_version(Path(source), storage, where.reference, options, progress or Progress())


def list(
    storage: str, name: str = "", *, signed_by: Sequence[str | Path] = (), config: Config | None = None
) -> Sequence[Listed]:
    """The versions in a storage, or of one model in it; of each who of `signed_by` has signed it (as `verify` has them).

    Raises StorageNotFound, and what a storage may.
    """
    opened, _ = connect(storage, config)
    with opened:
        return list_versions(opened, check_name(name) if name else "", [str(each) for each in signed_by])


def open(location: str, *, config: Config | None = None) -> OpenedVersion:
    """Open a version for its files by name: `.files`, `.open(path)`, `.read(path)`. Close it, or use `with`.

    Raises InvalidReference, NotFound, and what a storage may.
    """
    return open_location(location, config)


def inspect(location: str, *, shared: bool = True, config: Config | None = None) -> Inspection:
    """Files, tensors, tags, and who shares blocks with this version. Raises NotFound, InvalidManifest."""
    from hoist.tensors.inspect import inspect_version

    with open_location(location, config) as opened:
        return inspect_version(opened, shared=shared)


def verify(
    location: str,
    *,
    signed_by: Sequence[str | Path] = (),
    progress: Progress | None = None,
    config: Config | None = None,
) -> Verified:
    """Read a version back and check every block; damage is in the result.

    With `signed_by` (paths of public keys, or IDENTITY@ISSUER) one of them has to have signed it. Raises NotFound, Unsigned,
    InvalidManifest.
    """
    with open_location(location, config) as opened:
        wanted = [[str(each) for each in signed_by]] if signed_by else opened.storage.required_signers
        return verify_version(opened, progress or Progress(), wanted)


def sign(location: str, key: str | Path, *, config: Config | None = None) -> Signed:
    """Sign a version that is in a storage, by the private key in this file (its password in HOIST_SIGN_PASSWORD), or by
    `sigstore`; a version that this key has signed is left alone.

    Raises InvalidConfig for a key that cannot be used, NotFound, LocalError without model-signing, and what a storage may.
    """
    from hoist.transfer.sign import sign_version

    config = config or load_config()
    signer = open_signer(str(key), config.environ)
    with open_location(location, config, check=False) as opened:
        return sign_version(opened.storage, opened.version, opened.manifest, signer)


def signature(location: str, *, signed_by: Sequence[str | Path] = (), config: Config | None = None) -> bytes:
    """A version's signature, a Sigstore bundle of OpenSSF model-signing: the one that it has, or one that is good by one of
    `signed_by`. Raises Unsigned, UsageError if there are several, NotFound, and what a storage may."""
    from hoist.transfer.sign import find_signature

    with open_location(location, config, check=False) as opened:
        return find_signature(opened.storage, opened.version, opened.manifest, [str(each) for each in signed_by])


def pull(
    location: str,
    folder: str | Path,
    *,
    include: Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Pulled:
    """Bring a version's files to a folder, verified; running it again resumes.

    `include` are patterns of files to bring; `force` replaces files of other content. Raises Conflict, NotFound,
    LocalError, DamagedBlock, and what a storage may.
    """
    with open_location(location, config) as opened:
        return pull_version(opened, Path(folder), progress or Progress(), include=include, force=force)


def copy(
    locations: str | Sequence[str],
    storages: str | Sequence[str],
    *,
    tags: Sequence[str] = (),
    replace_unfinished: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Sequence[Copied]:
    """Copy versions to other storages of any kind, with the same digests; running it again goes on, or finds them there.

    `tags` are set in each target, last; so is the tag that a location names. `dry_run` only says what would move. A result
    for each version and target, in order: what went wrong there is its `error`, and holds nobody else back. Raises
    InvalidReference, UsageError, and for a version that cannot be opened NotFound, InvalidManifest, and what a storage may.
    """
    from hoist.transfer.copying import copy_all

    return copy_all(
        [locations] if isinstance(locations, str) else locations,
        [storages] if isinstance(storages, str) else storages,
        tags=tags,
        replace_unfinished=replace_unfinished,
        dry_run=dry_run,
        progress=progress or Progress(),
        config=config or load_config(),
    )


def tag(location: str, tag: str, *, note: str = "", config: Config | None = None) -> Tag:
    """Give the version at `location` another, movable name; `note` says why, for its history. Raises Conflict, NotFound."""
    check_label(tag)
    with open_location(location, config) as opened:
        made = Tag(opened.version.name, tag, opened.version.label, opened.manifest.digest)
        opened.storage.set_tag(made, note=note)
        return made


def remove(location: str, *, force: bool = False, config: Config | None = None) -> Version | Tag:
    """Remove a version, or only the tag if the location names one. A version that has tags needs `force`, which
    removes them too. Raises VersionNotFound, Conflict."""
    from hoist.transfer.remove import remove_reference

    where = parse_location(location)
    storage, _ = connect(where.storage, config)
    with storage:
        return remove_reference(storage, where.reference, force=force)


def collect(
    storage: str, *, grace_seconds: float = GRACE_SECONDS, delete: bool = False, config: Config | None = None
) -> Collected:
    """What killed publishes and removals have left in a storage, and nothing has touched for `grace_seconds`; deleted
    only with `delete`. Raises StorageNotFound, StorageUnsupported, and what a storage may."""
    opened, _ = connect(storage, config)
    with opened:
        return collect_storage(opened, grace_seconds=grace_seconds, delete=delete)
