"""The second look at a storage: the bytes of its files, all of them or a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby

from hoist.audit.blocks import AtRest, Broken, Wanted, read_blocks
from hoist.audit.contents import REPAIR, Held, unreadable
from hoist.audit.finding import Finding
from hoist.audit.sample import Chooser, Sample
from hoist.errors import Damaged, FileNotFound, StorageUnavailable, VersionNotFound
from hoist.model.manifest import Manifest
from hoist.parallel import SMALL_AT_ONCE, for_each
from hoist.progress import Progress
from hoist.read.engine import Engine
from hoist.read.version import OpenedVersion
from hoist.storage.base import Storage, Version
from hoist.transfer.verify import DamagedRange, verify_version

# What is read in one run of the engine: enough to keep every connection busy.
_BATCH_FILES = 64
_BATCH_BYTES = 512 << 20
# In a row: then it is the storage that is away.
_MOST_FAILURES = 3


class Reading:
    """Reads what was chosen of one storage's versions. `read_bytes` were read and checked."""

    def __init__(self, storage: Storage, engine: Engine, progress: Progress) -> None:
        self._storage = AtRest(storage)
        self._engine = engine
        self._progress = progress
        self.read_bytes = 0
        self._failures = 0
        self._away: set[Version] = set()

    def whole(self, held: Iterable[Held]) -> Iterator[Finding]:
        """Every block of every version, and its packs. Raises StorageUnavailable, and what else a storage may."""
        for each in held:
            yield from self._patiently(each.version, partial(self._verified, each.version))

    def sampled(self, held: Iterable[Held], sample: Sample, seed: int) -> Iterator[Finding]:
        """The blocks that the seed chooses; where one is damaged, the same bytes in other versions too. Raises likewise."""
        by_name = {str(each.version): each for each in held}
        chooser = Chooser(sample.share_of(sum(each.size for each in by_name.values())), seed)
        broken: list[Broken] = []
        for batch in self._batches(by_name, chooser):
            yield from self._checked_apart(batch, broken)
        yield from self._checked_apart(self._kin(broken, [each.version for each in by_name.values()]), [])

    def open(self, version: Version) -> OpenedVersion | None:
        """A version, past every cache and whether it is signed or not; None if it is not there or cannot be read."""
        try:
            manifest = Manifest.parse(self._storage.read_manifest(version))
        except (VersionNotFound, Damaged):
            return None
        return OpenedVersion(self._storage, version, manifest, self._engine)

    def _batches(self, held: Mapping[str, Held], chooser: Chooser) -> Iterator[list[Wanted]]:
        batch: list[Wanted] = []
        for name in chooser.order([*held]):
            if chooser.grant(held[name].size) > 0:
                batch += self._chosen(held[name].version, chooser)
            if len(batch) >= _BATCH_FILES or sum(_size(each) for each in batch) >= _BATCH_BYTES:
                yield batch
                batch = []
        if batch:
            yield batch

    def _patiently(self, version: Version, read: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        """What `read` finds; that a version cannot be read now does not keep the others from being looked at, unless it
        goes on so. Raises StorageUnavailable then."""
        try:
            found = list(read())
        except StorageUnavailable as error:
            self._away.add(version)
            self._failures += 1
            if self._failures == _MOST_FAILURES:
                raise
            found = [unreadable(self._storage, str(version), error)]
        else:
            self._failures = 0
        yield from found

    def _verified(self, version: Version) -> list[Finding]:
        opened = self.open(version)
        if opened is None:
            return []
        try:
            found = verify_version(opened, _Onward(self._progress))
        except (Damaged, FileNotFound):
            # A block table that is not right was found at the first look.
            return []
        self.read_bytes += found.bytes_read
        return self._still(opened, [*_files(opened, found.damaged), *_packs(opened, found.damaged_packs)])

    def _checked_apart(self, batch: Sequence[Wanted], broken: list[Broken]) -> Iterator[Finding]:
        """Read together, or version by version where that fails: one of them may be all that cannot be read."""
        try:
            found = self._checked(batch, broken)
        except StorageUnavailable:
            for version in dict.fromkeys(each.version for each in batch):
                mine = [each for each in batch if each.version == version]
                yield from self._patiently(version, partial(self._checked, mine, broken))
        else:
            yield from found

    def _checked(self, batch: Sequence[Wanted], broken: list[Broken]) -> list[Finding]:
        found = self._read(batch)
        broken += found
        return self._told(found)

    def _told(self, broken: Sequence[Broken]) -> list[Finding]:
        """As findings, those of versions that are there still: of others the files go before anybody looks."""
        there: dict[Version, OpenedVersion | None] = {}
        for each in broken:
            if each.version not in there:
                there[each.version] = self.open(each.version)
        return [as_finding(self._storage, each) for each in broken if _has(there[each.version], each)]

    def _chosen(self, version: Version, chooser: Chooser) -> list[Wanted]:
        opened = self.open(version)
        if opened is None:
            return []
        try:
            blocks = {path: opened.blocks(path) for path in opened.files}
        except (Damaged, FileNotFound):
            return []
        chosen = chooser.choose(str(version), blocks)
        return [Wanted(version, opened.entry(path), opened.source(path), spans) for path, spans in chosen.items()]

    def _read(self, wanted: Sequence[Wanted]) -> list[Broken]:
        found = read_blocks(wanted, self._engine, self._progress.advance)
        self.read_bytes += sum(_size(each) for each in wanted)
        return found

    def _kin(self, broken: Sequence[Broken], versions: Sequence[Version]) -> list[Wanted]:
        """The same ranges of the same content in other versions: in a directory they are often the same bytes."""
        spans = {(each.entry.digest, each.entry.size): each.spans for each in broken if not each.missing}
        if not spans:
            return []
        known = {(each.version, each.entry.path) for each in broken}
        there = [version for version in versions if version not in self._away]
        found = for_each(partial(self._alike, spans), there, SMALL_AT_ONCE)
        return [each for those in found for each in those if (each.version, each.entry.path) not in known]

    def _alike(self, spans: Mapping[tuple[str, int], Sequence[tuple[int, int]]], version: Version) -> list[Wanted]:
        opened = self.open(version)
        if opened is None:
            return []
        alike = [entry for entry in opened.manifest.files if (entry.digest, entry.size) in spans]
        with suppress(Damaged, FileNotFound):
            return [
                Wanted(version, entry, opened.source(entry.path), spans[entry.digest, entry.size]) for entry in alike
            ]
        return []

    def _still(self, opened: OpenedVersion, found: list[Finding]) -> list[Finding]:
        """The findings, unless the version has been removed meanwhile: then its files are gone before they were read."""
        again = self.open(opened.version) if found else None
        return found if again is not None and again.manifest.digest == opened.manifest.digest else []


def _has(opened: OpenedVersion | None, broken: Broken) -> bool:
    return opened is not None and opened.files.get(broken.entry.path) == broken.entry


def as_finding(storage: Storage, broken: Broken) -> Finding:
    """What is wrong with a file, as a finding."""
    entry = broken.entry
    return Finding(
        "missing-file" if broken.missing else "damaged",
        "error",
        storage.address,
        f"{broken.version}/{entry.path}",
        f"the file is not there; it has {entry.size} bytes" if broken.missing else _ranges(broken),
        REPAIR,
        broken.version,
        "file",
        entry.path,
        broken.spans,
    )


def _ranges(broken: Broken) -> str:
    shown = ", ".join(f"{begin} to {end}" for begin, end in broken.spans[:3])
    more = f" and {len(broken.spans) - 3} more ranges" if len(broken.spans) > 3 else ""
    return f"damaged at bytes {shown}{more}"


def _files(opened: OpenedVersion, damaged: Sequence[DamagedRange]) -> Iterator[Finding]:
    # They come in order.
    for path, items in groupby(damaged, key=lambda item: item.path):
        mine = list(items)
        entry = opened.entry(path)
        spans = tuple((item.begin, item.end) for item in mine)
        yield as_finding(opened.storage, Broken(opened.version, entry, spans, any(item.missing for item in mine)))


def _packs(opened: OpenedVersion, damaged: Sequence[str]) -> Iterator[Finding]:
    for digest in damaged:
        what = "the index of its packs" if digest == "index" else f"a pack of its small files ({digest})"
        yield Finding(
            "damaged",
            "warning",
            opened.storage.address,
            f"{opened.version} pack {digest}",
            f"{what} is damaged or missing: the version is whole, and slower to load",
            "run hoist audit --whole --repair: it makes them of the files",
            opened.version,
            "pack",
            digest,
        )


def _size(wanted: Wanted) -> int:
    return sum(end - begin for begin, end in wanted.spans)


class _Onward(Progress):
    """Passes bytes on, and no phases: the audit is one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def advance(self, count: int) -> None:
        self._progress.advance(count)
