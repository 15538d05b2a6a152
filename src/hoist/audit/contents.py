"""The first look at a storage's versions and tags: what is there, by listings, manifests and small documents alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hoist.audit.finding import Finding
from hoist.errors import Damaged, FileNotFound, HoistError, LocalError, PermissionDenied, Unsigned, VersionNotFound
from hoist.model.manifest import Manifest, digest_of
from hoist.read.signed import check_signed
from hoist.storage.base import Storage, StoredFile, Tag, Version

REPAIR = "run hoist audit --repair with a storage that has it whole, or hoist copy it anew after hoist remove"

# Hoist neither removes nor writes over what it cannot read.
WITHOUT_MANIFEST = "delete the manifest with the storage's own tools, and copy the version again"
_REPAIR_MANIFEST = f"run hoist audit --repair with a storage that has it whole, or {WITHOUT_MANIFEST}"


@dataclass(frozen=True, slots=True)
class Held:
    """A version that is there: its manifest's digest, and how much it should have."""

    version: Version
    digest: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What became of one version: it is there or not, and what is wrong already."""

    held: Held | None
    findings: tuple[Finding, ...]


def look_at(storage: Storage, version: Version, *, documents: bool) -> FirstLook:
    """One version: its manifest, the names and sizes of its files, and with `documents` its config and block table.

    Raises StorageUnavailable, StorageNotFound; what is wrong with this version alone is in the result.
    """
    try:
        manifest = Manifest.parse(storage.read_manifest(version))
    except VersionNotFound:
        # Removed since it was listed.
        return FirstLook(None, ())
    except Damaged as error:
        return FirstLook(None, (_damaged_manifest(storage, version, error),))
    except (PermissionDenied, LocalError) as error:
        return FirstLook(None, (unreadable(storage, str(version), error, version),))
    held = Held(version, manifest.digest, len(manifest.files), manifest.size)
    try:
        found = [*_files(storage, version, manifest), *_unsigned(storage, version, manifest)]
        found += _documents(storage, version, manifest) if documents else ()
        if found and not _is_still(storage, version, manifest):
            return FirstLook(None, ())
    except (PermissionDenied, LocalError) as error:
        return FirstLook(held, (unreadable(storage, str(version), error, version),))
    return FirstLook(held, tuple(found))


def look_at_unlisted(storage: Storage) -> Iterator[Finding]:
    """What no listing shows, as it cannot be read: a version that was there, unless it is somebody else's."""
    for version in storage.unlisted():
        try:
            storage.read_manifest(version)
        except Damaged as error:
            yield _damaged_manifest(storage, version, error)
        except VersionNotFound:
            if _is_named(storage, version):
                detail = "its manifest is not there, and is named still"
                yield Finding(
                    "missing-file",
                    "error",
                    storage.address,
                    f"{version} manifest",
                    detail,
                    _REPAIR_MANIFEST,
                    version,
                    "manifest",
                )


def look_at_tag(storage: Storage, tag: Tag, held: Mapping[Version, str]) -> Finding | None:
    """What is wrong with a tag of a storage that holds these versions, by their digests."""
    name = f"{tag.name}:{tag.tag}"
    mend = f"hoist tag {storage.address}//{tag.name}:VERSION {tag.tag}, or hoist remove {storage.address}//{name}"
    if not tag.label:
        return Finding("stale-tag", "error", storage.address, name, "the tag is damaged: it names nothing", mend)
    version = Version(tag.name, tag.label)
    if version not in held:
        detail = f"it names {version}, which is not there"
    elif held[version] != tag.digest:
        detail = f"it names {version} of {tag.digest}, and that is {held[version]}"
    else:
        return None
    if storage.find_tag(tag.name, tag.tag) != tag or _has(storage, version, tag.digest):
        # It was moved, or its version came, since they were listed.
        return None
    return Finding("stale-tag", "error", storage.address, name, detail, mend, version)


def names_what_is_there(storage: Storage, name: str, tag: str) -> bool:
    """Whether a tag names a version that is there with its digest. Raises what a storage may."""
    found = storage.find_tag(name, tag)
    return found is not None and bool(found.label) and _has(storage, Version(name, found.label), found.digest)


def unreadable(storage: Storage, what: str, error: HoistError, version: Version | None = None) -> Finding:
    """A part of a storage that could not be looked at."""
    mend = "see that this user may read it and that the storage answers, then run the audit again"
    return Finding("unreachable", "error", storage.address, what, str(error), mend, version)


def _files(storage: Storage, version: Version, manifest: Manifest) -> Iterator[Finding]:
    sizes = storage.stored_sizes(version)
    if sizes is None:
        return
    for entry in manifest.files:
        what = f"{version}/{entry.path}"
        size = sizes.get(entry.path)
        whole = ((0, entry.size),)
        if size is None:
            if not _is_there(storage, StoredFile(version, entry)):
                detail = f"the file is not there; it has {entry.size} bytes"
                yield Finding(
                    "missing-file", "error", storage.address, what, detail, REPAIR, version, "file", entry.path, whole
                )
        elif size != entry.size:
            detail = f"the file has {size} bytes, and should have {entry.size}"
            yield Finding("damaged", "error", storage.address, what, detail, REPAIR, version, "file", entry.path, whole)
    strays = [path for path in sizes if path not in manifest.by_path]
    if strays:
        shown = ", ".join(sorted(strays)[:3]) + (", ..." if len(strays) > 3 else "")
        size = sum(sizes[path] for path in strays)
        yield Finding(
            "garbage",
            "warning",
            storage.address,
            f"{version}/",
            f"files that the version does not name: {len(strays)} of {size} bytes ({shown})",
            "look what they are, and delete them by hand: Hoist did not put them there",
            version,
        )


def _documents(storage: Storage, version: Version, manifest: Manifest) -> Iterator[Finding]:
    for name, blob in (("config", manifest.config), ("block table", manifest.blocks)):
        detail = ""
        missing = False
        try:
            data = storage.read_blob(version, blob.digest, blob.size)
            if len(data) != blob.size or digest_of(data) != blob.digest:
                detail = f"the {name} is damaged: it has another digest than the manifest says"
        except FileNotFound:
            detail, missing = f"the {name} is not there", True
        except Damaged:
            detail = f"the {name} is damaged: it is shorter than the manifest says"
        if detail:
            yield Finding(
                "missing-file" if missing else "damaged",
                "error",
                storage.address,
                f"{version} {name}",
                detail,
                REPAIR,
                version,
                "document",
                blob.digest,
                ((0, blob.size),),
            )


def _unsigned(storage: Storage, version: Version, manifest: Manifest) -> Iterator[Finding]:
    try:
        check_signed(storage, version, manifest)
    except Unsigned as error:
        mend = f"hoist sign {storage.address}//{version} --key KEY.pem, if it is what it should be; else remove it"
        yield Finding("unsigned", "error", storage.address, str(version), str(error), mend, version)


def _damaged_manifest(storage: Storage, version: Version, error: Damaged) -> Finding:
    return Finding(
        "damaged", "error", storage.address, f"{version} manifest", str(error), _REPAIR_MANIFEST, version, "manifest"
    )


def _is_there(storage: Storage, file: StoredFile) -> bool:
    """A listing may be late: whether it can be read tells."""
    if not file.entry.size:
        return False
    try:
        storage.read_into(file, 0, memoryview(bytearray(1)))
    except FileNotFound:
        return False
    except Damaged:
        return True
    return True


def _is_named(storage: Storage, version: Version) -> bool:
    """Whether a new listing leaves it out again: what was removed is not listed at all."""
    return version not in storage.versions(version.name) and version in storage.unlisted()


def _is_still(storage: Storage, version: Version, manifest: Manifest) -> bool:
    """Whether it is the same version still: one that is being removed loses its files after its manifest."""
    try:
        return storage.read_manifest(version) == manifest.data
    except (VersionNotFound, Damaged):
        return False


def _has(storage: Storage, version: Version, digest: str) -> bool:
    try:
        return digest_of(storage.read_manifest(version)) == digest
    except (VersionNotFound, Damaged):
        return False
