"""Healing what is damaged or missing in one storage from the others, and reading it again before it counts as healed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from hoist.audit.blocks import AtRest, Wanted, read_blocks
from hoist.audit.contents import WITHOUT_MANIFEST
from hoist.audit.finding import Finding, Span
from hoist.audit.healing import Healing, Holders, Place, documents_of, manifests_of
from hoist.audit.packs import restore_packs
from hoist.audit.protection import folder_of
from hoist.errors import Damaged, FileNotFound, HoistError
from hoist.model.manifest import FileEntry, Manifest, digest_of
from hoist.pagecache import let_go
from hoist.progress import Progress
from hoist.read.source import Source, stored_source
from hoist.read.version import OpenedVersion
from hoist.storage import layout
from hoist.storage.base import StoredFile, Version
from hoist.storage.tree import TreeStorage

_HEALED: tuple[str, ...] = ("damaged", "missing-file")
# A file cannot be read without its manifest, nor checked without the block table; a link is right when what it leads to is.
_ORDER = {"manifest": 0, "document": 1, "file": 2, "pack": 3}


def repair(place: Place, places: Sequence[Place], findings: Sequence[Finding], progress: Progress) -> list[Finding]:
    """The findings of one storage, those that a repair could mend with what became of them. Nothing that is right is
    written: each finding is looked at again before. Raises nothing of a storage's: that is why one is not repaired."""
    mine = [item for item in findings if item.kind in _HEALED and item.version is not None and item.part]
    if not mine:
        return list(findings)
    run = _Repair(place, places, progress)
    progress.begin(f"repairing {place.storage.address}", run.expect(mine))
    done: dict[int, Finding] = {}
    for item in sorted(mine, key=run.rank):
        done[id(item)] = _tried(item, partial(run.heal, item))
    progress.end()
    return [done.get(id(item), item) for item in findings]


def _tried(item: Finding, heal: Callable[[], None]) -> Finding:
    try:
        heal()
    except HoistError as error:
        return item.unmended(str(error))
    return item.mended()


class _Repair:
    """One storage's repair under way."""

    def __init__(self, place: Place, places: Sequence[Place], progress: Progress) -> None:
        self._place = place
        self._storage = place.storage
        self._others = [each for each in places if each.storage is not place.storage]
        self._places = [*self._others, place]
        self._progress = progress
        self._holders = Holders(self._places, set())
        self._entries: dict[tuple[Version, str], FileEntry] = {}
        self._opened: OpenedVersion | None = None
        # Files of this storage that are right by now, by their contents: others can be made of them without moving bytes.
        self._healed: dict[tuple[str, int], StoredFile] = {}

    def expect(self, findings: Sequence[Finding]) -> int:
        """Say what will have to be healed, so that who holds it is looked for once; the bytes of those files."""
        paths: defaultdict[Version, list[str]] = defaultdict(list)
        for item in findings:
            if item.version and item.part == "file":
                paths[item.version].append(item.path)
        for version, named in paths.items():
            with suppress(HoistError):
                known = Manifest.parse(self._storage.read_manifest(version)).by_path
                self._entries |= {(version, path): known[path] for path in named if path in known}
        self._holders = Holders(self._places, {(entry.digest, entry.size) for entry in self._entries.values()})
        return sum(entry.size for entry in self._entries.values())

    def rank(self, item: Finding) -> tuple[int, bool, str]:
        """The order in which findings are healed."""
        entry = self._entries.get((item.version, item.path)) if item.version else None
        return _ORDER.get(item.part, 9), bool(entry and entry.link), item.what

    def heal(self, item: Finding) -> None:
        """Heal one finding, and see that it is. Raises what keeps it from being healed."""
        assert item.version
        if item.part == "manifest":
            self._manifest(item.version)
        elif item.part == "document":
            self._document(item.version, item.path)
        elif item.part == "file":
            self._file(item)
        else:
            restore_packs(self._open(item.version), item.path)

    def _manifest(self, version: Version) -> None:
        """From another storage, if the config that it names lies here: that is made of the same files."""
        for manifest in manifests_of(self._others, version):
            try:
                config = self._storage.read_blob(version, manifest.config.digest, manifest.config.size)
            except (FileNotFound, Damaged):
                continue
            if digest_of(config) == manifest.config.digest:
                self._storage.restore_manifest(version, manifest.data)
                if self._storage.read_manifest(version) != manifest.data:
                    raise Damaged(f"the manifest of {version} was written and read back wrong")
                return
        raise Damaged(
            f"no other storage of this audit has {version} with the config that lies in {self._storage.address}, so nobody "
            f"can tell which version this was; {WITHOUT_MANIFEST}"
        )

    def _document(self, version: Version, digest: str) -> None:
        manifest = Manifest.parse(self._storage.read_manifest(version))
        blob = next((blob for blob in (manifest.config, manifest.blocks) if blob.digest == digest), None)
        if blob is None:
            raise Damaged(f"{version} names no document {digest} any more: run the audit again")
        for data in documents_of(self._places, version, blob.digest, blob.size):
            if digest_of(data) == digest:
                self._storage.restore_document(version, data)
                break
        else:
            raise Damaged(f"no storage of this audit has the document {digest} of {version} whole")
        if digest_of(self._storage.read_blob(version, digest, blob.size)) != digest:
            raise Damaged(f"the document {digest} of {version} was written and read back wrong")

    def _file(self, item: Finding) -> None:
        assert item.version
        opened = self._open(item.version)
        entry = opened.entry(item.path)
        file = StoredFile(item.version, entry)
        blocks = opened.blocks(item.path)
        source = stored_source(opened.storage, file, blocks)
        spans = self._wrong(file, source, item)
        if spans is None:
            # Somebody has healed it meanwhile, or what it leads to is healed.
            return
        content = entry.digest, entry.size
        like = self._healed.get(content)
        if not (like and self._storage.restore_from(item.version, entry, like) and self._is_whole(file, source)):
            self._write(opened, entry, spans)
            if not self._is_whole(file, source):
                raise Damaged(
                    f"{file} was written to {self._storage.address} and read back wrong: its disk or store fails"
                )
        self._healed[content] = file

    def _open(self, version: Version) -> OpenedVersion:
        """A version as it is now; its block table is read once for all of its files."""
        data = self._storage.read_manifest(version)
        if self._opened is None or (self._opened.version, self._opened.manifest.data) != (version, data):
            self._opened = OpenedVersion(AtRest(self._storage), version, Manifest.parse(data), self._place.engine)
        return self._opened

    def _healing(self, opened: OpenedVersion, entry: FileEntry, spans: Sequence[Span]) -> Healing:
        file = StoredFile(opened.version, entry)
        holders = self._holders.of(opened.version, (entry.digest, entry.size))
        return Healing(self._place, file, opened.blocks(entry.path), spans, holders)

    def _write(self, opened: OpenedVersion, entry: FileEntry, spans: Sequence[Span]) -> None:
        healing = self._healing(opened, entry, spans)

        def read_into(offset: int, buffer: memoryview) -> None:
            healing.read_into(offset, buffer)
            self._progress.advance(len(buffer))

        self._storage.restore_file(
            opened.version, entry, read_into, lambda other: self._healing(opened, other, ()).read_into
        )

    def _wrong(self, file: StoredFile, source: Source, item: Finding) -> Sequence[Span] | None:
        """The ranges of a file that are wrong now; None if it is right, as far as the finding goes."""
        if not self._has_its_size(file):
            return ((0, file.entry.size),)
        found = read_blocks([Wanted(file.version, file.entry, source, item.spans)], self._place.engine, _silent)
        return found[0].spans if found else None

    def _is_whole(self, file: StoredFile, source: Source) -> bool:
        """Read all of a file again, from the disk where it lies on one of this machine."""
        folder = folder_of(self._storage)
        if folder is not None and isinstance(self._storage, TreeStorage):
            with suppress(OSError):
                let_go(folder / layout.file_key(file.version, file.entry.path))
        whole = [Wanted(file.version, file.entry, source, [(0, file.entry.size)])]
        return self._has_its_size(file) and not read_blocks(whole, self._place.engine, _silent)

    def _has_its_size(self, file: StoredFile) -> bool:
        sizes = self._storage.stored_sizes(file.version, file.entry.path)
        return sizes is None or sizes.get(file.entry.path) == file.entry.size


def _silent(count: int) -> None:
    """Nobody is told of bytes that are only read again."""
