"""What holds in four regions, whatever happens to them; and one fault in the middle of one command, with all that is to hold
after it. A plugin's material: PYTEST_DONT_REWRITE."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from regions import FROZEN, KILLED, Region

from hoist.errors import VersionNotFound
from hoist.model.reference import Reference
from hoist.progress import Progress
from hoist.storage.base import Storage, Tag, Version
from hoist.transfer.publish import Options, publish_version
from hoist.transfer.remove import remove_reference
from hoist.transfer.verify import verify_version
from makers import noise, opened, write_files
from zygote import Ended, Started, User

MIB = 1 << 20
MODEL, OTHER, TAG = "m/one", "m/two", "stable"
RETRY_SECONDS = "0.7"
LIMIT_SECONDS = 90.0
# For how long a region is broken; None: until the command has ended.
LASTS: tuple[float | None, ...] = (None, 0.3, 0.7)


def files_of(seed: int, *, large: bool) -> dict[str, bytes]:
    """A version's files: some that go alone, small ones, and where it is `large` one that is sent in parts."""
    found = {"config.json": b"%d" % seed, "middle.bin": noise(MIB + 7, seed), "vae/weights.bin": noise(MIB, seed + 1)}
    found |= {f"small/{number}.txt": noise(2000, 100 * seed + number) for number in range(12)}
    return found | ({"unet/weights.bin": noise(17 * MIB, seed + 2)} if large else {})


@dataclass(frozen=True)
class Seen:
    """A storage's versions with their digests, and its tags with what they name."""

    versions: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass
class World:
    """The regions, a user of all, and what is in each for good: two models, one of them with the tag that is moved."""

    regions: Mapping[str, Region]
    user: User
    storages: dict[str, Storage] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    number: int = 1
    seconds: dict[str, list[float]] = field(default_factory=dict)
    was_unmounted: bool = False

    def fill(self) -> None:
        """Lay what is there before anything goes wrong."""
        self.storages = {name: region.open(self.user.home) for name, region in self.regions.items()}
        folder = write_files(self.user.home / "first", {"w.bin": noise(50_000, 1), "config.json": b"{}"})
        for storage in self.storages.values():
            for name in (MODEL, OTHER):
                done = publish_version(folder, storage, Reference(name, label="v1"), Options(), Progress())
                self.kept[f"{name}:v1"] = done.digest
            storage.set_tag(Tag(MODEL, TAG, "v1", self.kept[f"{MODEL}:v1"]))
            storage.set_tag(Tag(OTHER, TAG, "v1", self.kept[f"{OTHER}:v1"]))

    def close(self) -> None:
        """Let the storages go."""
        for storage in self.storages.values():
            storage.close()

    def publish(self, names: Sequence[str], *, large: bool, tag: bool) -> tuple[str, str]:
        """A new version in some regions, with the tag on it if `tag`; its label and its digest."""
        self.number += 1
        label = f"v{self.number}"
        folder = write_files(self.user.home / label, files_of(self.number, large=large))
        for name in names:
            digest = publish_version(
                folder, self.storages[name], Reference(MODEL, label=label), Options(), Progress()
            ).digest
            if tag:
                self.storages[name].set_tag(Tag(MODEL, TAG, label, digest))
        return label, digest

    def plan(self, source: str, targets: Sequence[str]) -> str:
        """A plan that keeps the targets in step with the source, as `hoist sync` takes it."""
        path = self.user.home / "plan.toml"
        path.write_text(f'[sync.all]\nfrom = "{source}"\nto = {list(targets)}\nmodels = ["m/*"]\n')
        return f"./{path.name}"

    def forget(self, label: str) -> None:
        """Make all regions as they were before this version."""
        for storage in self.storages.values():
            storage.set_tag(Tag(MODEL, TAG, "v1", self.kept[f"{MODEL}:v1"]))
            try:
                remove_reference(storage, Reference(MODEL, label=label))
            except VersionNotFound:
                continue

    def look(self, name: str, whole: bool = True) -> Seen:
        """What a region has; each version of it is whole, and each tag names one with its digest."""
        storage = self.storages[name]
        versions: dict[str, str] = {}
        for version in storage.versions():
            versions[str(version)] = digest = _verified(storage, version, f"{name}, {version}", whole=whole)
            known = self.kept.get(str(version))
            assert known in (None, digest), f"{name} has other content of {version}"
        tags = {}
        for tag in storage.tags():
            where = f"{name}: tag {tag.name}:{tag.tag}"
            assert versions.get(f"{tag.name}:{tag.label}") == tag.digest, (
                f"{where} names {tag}, and there is {versions}"
            )
            tags[f"{tag.name}:{tag.tag}"] = tag.digest
        assert self.kept.items() <= versions.items(), f"{name} has lost something: {versions}"
        assert {f"{MODEL}:{TAG}", f"{OTHER}:{TAG}"} <= tags.keys(), f"{name} has lost a tag: {tags}"
        assert tags[f"{OTHER}:{TAG}"] == self.kept[f"{OTHER}:v1"]
        return Seen(versions, tags)

    def usual(self, verb: str) -> float:
        """How long a whole run usually takes here."""
        known = sorted(self.seconds.get(verb, [])[-7:])
        return known[len(known) // 2] if known else 0.6

    def note(self, verb: str, seconds: float) -> None:
        """A whole run that nothing disturbed took so long."""
        self.seconds.setdefault(verb, []).append(seconds)


def _verified(storage: Storage, version: Version, what: str, *, whole: bool) -> str:
    found = opened(storage, Reference(version.name, label=version.label))
    if whole:
        checked = verify_version(found, Progress())
        assert not checked.damaged, f"{what} is damaged: {checked.damaged}"
    return found.manifest.digest


@dataclass
class Table:
    """What faults were tried, and what was seen after them: for docs/reliability.md."""

    struck: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)

    def note(self, verb: str, region: str, kind: str, ended: Ended, *, struck: bool) -> None:
        """One fault."""
        row = f"{verb} | {region} {kind}"
        self.struck[row] += struck
        end = "killed" if ended.killed else "done" if ended.code == 0 else f"exit {ended.code}"
        self.ends[f"{row} | {end if struck else 'not struck'}"] += 1

    def show(self) -> None:
        """The table, on standard output."""
        sys.stdout.write(
            f"\n{self.struck.total()} faults\n" + "".join(f"{n:4} {row}\n" for row, n in sorted(self.ends.items()))
        )


@contextmanager
def mended(region: Region) -> Iterator[None]:
    """Whatever happens, the region is well at the end."""
    try:
        yield
    finally:
        region.mend()


def run_with_fault(
    world: World, table: Table, verb: str, words: Sequence[str], region: Region, kind: str, rng: random.Random
) -> Ended:
    """Run a command and break a region in the middle, for a while or until the command has ended."""
    user, after, lasts = world.user, rng.random() * world.usual(verb), rng.choice(LASTS)
    if kind == FROZEN and lasts is None:
        # A frozen server is waited for longer than a test can.
        lasts = 0.7
    began = time.monotonic()
    running = user.zygote.start(user.home, user.env, *words)
    with mended(region):
        time.sleep(after)
        struck = not _has_ended(running) and region.strike(kind)
        if lasts is not None and struck:
            time.sleep(lasts)
            region.mend()
        ended = running.end(0, LIMIT_SECONDS)
    assert not ended.killed, f"hoist {' '.join(words)} has not ended in {LIMIT_SECONDS:g} s: {ended.error}"
    if not struck:
        world.note(verb, time.monotonic() - began)
    table.note(verb, region.name, kind, ended, struck=struck)
    world.was_unmounted = (region.name, kind) == ("nas", KILLED)
    return ended


def _has_ended(running: Started) -> bool:
    try:
        return Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def said_why(ended: Ended) -> bool:
    """Whether a command that failed has said so as one does."""
    return ended.code == 0 or (ended.code > 0 and "hoist: error: " in ended.error)
