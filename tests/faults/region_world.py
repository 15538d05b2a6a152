"""What holds in four regions, whatever happens to them; and one fault in the middle of one command, with all that is to hold
after it. A plugin's material: PYTEST_DONT_REWRITE."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from breakable import FROZEN, KILLED, Region

from hoist.errors import VersionNotFound
from hoist.model.reference import Reference
from hoist.progress import Progress
from hoist.storage.base import Storage, Tag, Version
from hoist.transfer.publish import Options, publish_version
from hoist.transfer.remove import remove_reference
from hoist.transfer.verify import verify_version
from makers import Raw, noise, opened, safetensors_bytes, write_files
from zygote import Ended, Started, User

MIB = 1 << 20
MODEL, OTHER, TAG = "m/one", "m/two", "stable"
LARGE = Reference("m/large", label="v1")
COMMAND = "hoist"
RETRY_SECONDS = "0.7"
LIMIT_SECONDS = 90.0
# For how long a region is broken; None: until the command has ended.
LASTS = (None, 0.3, 0.7)


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
    left: str = ""
    large: dict[str, bytes] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
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

    @property
    def first(self) -> str:
        """The digest of the version that is always there."""
        return self.kept[f"{MODEL}:v1"]

    def close(self) -> None:
        """Let the storages go."""
        for storage in self.storages.values():
            storage.close()

    def publish(self, names: Sequence[str], *, large: bool, tag: bool) -> tuple[str, str]:
        """A new version in some regions, with the tag on it if `tag`; its label and its digest."""
        # A test that has failed leaves one behind.
        self.forget(self.left)
        self.number += 1
        self.left = label = f"v{self.number}"
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
        for storage in self.storages.values() if label else ():
            storage.set_tag(Tag(MODEL, TAG, "v1", self.kept[f"{MODEL}:v1"]))
            try:
                remove_reference(storage, Reference(MODEL, label=label))
            except VersionNotFound:
                continue
        self.left = ""

    def fill_large(self) -> None:
        """A version in all regions that takes a while to load; once."""
        if self.large:
            return
        tensors = [Raw(f"t{number}", "U8", [MIB], noise(MIB, 50 + number)) for number in range(12)]
        self.large = {"model.safetensors": safetensors_bytes(tensors), "config.json": b"{}"}
        folder = write_files(self.user.home / "large", self.large)
        for storage in self.storages.values():
            publish_version(folder, storage, LARGE, Options(), Progress())

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
        """Over how many seconds the moments of faults in this command are drawn."""
        return self.seconds.get(verb, 0.5)

    def learn(self, verb: str, *, struck: bool) -> None:
        """Commands take longer on a busy machine: most faults shall hit, and some late."""
        self.seconds[verb] = self.usual(verb) * (1.06 if struck else 0.8)


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

    def struck_of(self, verb: str, region: str, kind: str) -> int:
        """How many of these have struck so far."""
        return self.struck[f"{verb} | {region} {kind}"]

    def show(self) -> None:
        """The table, on standard output."""
        sys.stdout.write(
            f"\n{self.struck.total()} faults\n" + "".join(f"{n:4} {row}\n" for row, n in sorted(self.ends.items()))
        )


def run_with_fault(
    world: World, table: Table, verb: str, commands: Sequence[Sequence[str]], where: str, kind: str, rng: random.Random
) -> list[Ended]:
    """Run commands at once, and break a region in the middle, for a while or until they have ended; the first of them itself
    where `where` is COMMAND. How they ended."""
    user, after, lasts = world.user, rng.random() * world.usual(verb), rng.choice(LASTS)
    if kind == FROZEN and lasts is None and verb != "load":
        # Only who reads from several goes on without one that is frozen sooner than a test can wait.
        lasts = LASTS[-1]
    running = [user.zygote.start(user.home, user.env, *words) for words in commands]
    broken = Command(running[0]) if where == COMMAND else world.regions[where]
    try:
        time.sleep(after)
        struck = not any(map(has_ended, running)) and broken.strike(kind)
        if lasts is not None and struck:
            time.sleep(lasts)
            broken.mend()
        ended = [each.end(0, LIMIT_SECONDS) for each in running]
    finally:
        broken.mend()
    killed = where == COMMAND and kind == KILLED
    for words, each in zip(commands, ended, strict=True):
        assert killed or not each.killed, f"hoist {' '.join(words)} has not ended in {LIMIT_SECONDS:g} s: {each.error}"
    world.learn(verb, struck=struck)
    table.note(verb, where, kind, ended[0], struck=struck)
    world.was_unmounted = (where, kind) == ("nas", KILLED)
    return ended


class Command:
    """A command that is broken itself, as a region is."""

    def __init__(self, running: Started) -> None:
        self._pid = running.pid
        self._stopped = False

    def strike(self, kind: str) -> bool:
        """Kill or stop it. Nobody has waited for it yet, so that its id is still its own."""
        self._stopped = kind == FROZEN
        os.kill(self._pid, signal.SIGSTOP if self._stopped else signal.SIGKILL)
        return True

    def mend(self) -> None:
        """Let it go on."""
        if self._stopped:
            self._stopped = False
            os.kill(self._pid, signal.SIGCONT)


def has_ended(running: Started) -> bool:
    """Whether a command is over, though nobody has waited for it."""
    try:
        return Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def said_why(ended: Ended) -> bool:
    """Whether a command that failed has said so as one does."""
    return ended.code == 0 or ended.killed or (ended.code > 0 and "hoist: error: " in ended.error)
