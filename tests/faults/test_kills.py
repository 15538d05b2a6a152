"""SIGKILL at random moments of publish and pull: nothing is half visible, and running it again completes.

HOIST_TEST_KILLS sets how many kills each test does (50 by default: 100 of publish and 100 of pull, half of them on a
directory, half on a bucket). The moments are drawn over the time that a whole run takes on this machine.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from makers import Raw, files_below, noise, safetensors_bytes, write_files
from zygote import Ended, User

pytest_plugins = ["fault_users"]

MIB = 1 << 20
KILLS = int(os.environ.get("HOIST_TEST_KILLS", "50"))
STAGING = ".hoist-pull"
TENSORS = [Raw(f"block.{n}.weight", "F16", [MIB], noise(2 * MIB, n)) for n in range(8)]
FILES = {
    "unet/model.safetensors": safetensors_bytes(TENSORS),
    "vae/model.safetensors": safetensors_bytes(TENSORS[:2]),
    "config.json": b"{}",
    "tokenizer/merges.txt": noise(300_000, 9),
} | {f"small/{n}.bin": noise(50_000, 100 + n) for n in range(20)}  # fmt: skip
SIZE = sum(map(len, FILES.values()))
EDGES = (0.25, 0.5, 0.75)


class Moments:
    """When to kill next, until KILLS have hit: spread evenly over the time that a whole run takes, in random order.

    `whole` measures that time; it is asked again from time to time, as a machine is not always as quick.
    """

    def __init__(self, whole: Callable[[], float], seed: int) -> None:
        self.counted = Counter[str]()
        self._whole = whole
        self._runs = [whole() for _ in range(5)]
        self._rng = random.Random(seed)

    @property
    def seconds(self) -> float:
        """How long a whole run takes: the median of the last five."""
        return sorted(self._runs[-5:])[2]

    def __iter__(self) -> Iterator[float]:
        for _ in range(4):
            parts = [(number + self._rng.random()) / KILLS for number in range(KILLS)]
            self._rng.shuffle(parts)
            for number, self._part in enumerate(parts):
                if self.counted.total() >= KILLS:
                    return
                if number % 10 == 9:
                    self._runs.append(self._whole())
                yield self._part * self.seconds * 1.1

    def note(self, ended: Ended, what: str) -> None:
        """Count a kill under the quarter of the run that it hit, and what was seen then."""
        if ended.killed:
            self.counted[f"{sum(self._part >= edge for edge in EDGES) + 1}/4 {what}"] += 1

    def check(self, record_property: Callable[[str, object], None]) -> None:
        """Enough kills, in every part of a run; docs/reliability.md has one record of them."""
        phases = dict(sorted(self.counted.items()))
        record_property("phases", json.dumps(phases))
        sys.stdout.write(f"\n{self.counted.total()} kills in runs of {self.seconds:.2f} s: {phases}\n")
        assert self.counted.total() == KILLS
        assert KILLS < 20 or len({key.split()[0] for key in phases}) == len(EDGES) + 1


def test_publish(user: User, record_property: Callable[[str, object], None]) -> None:
    write_files(user.home / "m", FILES)

    def whole() -> float:
        ended = user.run("publish", "m", "here//whole:v1", "--quiet")
        # A version that stays would be copied from, inside the storage, and spare the upload that is to be killed.
        user.run("remove", "here//whole:v1", "--yes")
        return ended.seconds

    moments, resumed, label = Moments(whole, seed=1), 0, 0
    for number, seconds in enumerate(moments):
        where = f"here//m/one:v{label}"
        ended = user.tries("publish", "m", where, "--quiet", kill=seconds)
        visible = _is_visible(user, f"v{label}")
        assert visible or ended.killed
        moments.note(ended, "visible" if visible else "unseen")
        if visible:
            # The kill came behind the manifest, or not at all: then the version is whole.
            user.run("verify", where, "--quiet")
        elif number % 4 == 0:
            assert user.refused("load", where, "unet/model.safetensors", "--quiet").code == 3
        if visible or number % 4 == 1:
            # Every fourth time what was left is gone on with; every fourth, the next kill hits such a second run.
            done = user.run("publish", "m", where, "--quiet", "--json").json
            resumed += done["resumed_bytes"] > 0
            user.run("remove", where, "--yes")
        label += visible or number % 4 != 2
    last = f"here//m/one:v{label}"
    user.run("publish", "m", last, "--quiet")
    user.run("verify", last, "--quiet")
    user.run("pull", last, "out", "--quiet")
    assert files_below(user.home / "out") == FILES
    moments.check(record_property)
    assert resumed or KILLS < 20


def _is_visible(user: User, label: str) -> bool:
    """Whether the version is listed; then nothing is wrong with what is listed."""
    listed = {item["version"]: item for item in user.run("list", "here", "m/one", "--json").json["versions"]}
    if label in listed:
        assert listed[label]["problem"] is None
        assert listed[label]["size_bytes"] == SIZE
    return label in listed


def test_pull(user: User, record_property: Callable[[str, object], None]) -> None:
    write_files(user.home / "m", FILES)
    user.run("publish", "m", "here//m/one:v1", "--quiet")

    def whole() -> float:
        shutil.rmtree(user.home / "whole", ignore_errors=True)
        return user.run("pull", "here//m/one:v1", "whole", "--quiet").seconds

    moments, kept, folder = Moments(whole, seed=2), 0, 0
    for number, seconds in enumerate(moments):
        out = user.home / f"out{folder}"
        ended = user.tries("pull", "here//m/one:v1", out.name, "--quiet", kill=seconds)
        placed = _placed(out)
        # What has its name is whole, whenever the kill came.
        assert placed.items() <= FILES.items()
        assert ended.killed or placed == FILES
        moments.note(ended, "all placed" if placed == FILES else "some placed" if placed else "none placed")
        if placed == FILES or number % 4 == 0:
            done = user.run("pull", "here//m/one:v1", out.name, "--quiet", "--json").json
            kept += done["kept_bytes"] > 0
            assert files_below(out) == FILES
            folder += 1
    user.run("pull", "here//m/one:v1", "last", "--quiet")
    assert files_below(user.home / "last") == FILES
    moments.check(record_property)
    assert kept or KILLS < 20


def _placed(folder: Path) -> dict[str, bytes]:
    return {path: data for path, data in files_below(folder).items() if not path.startswith(STAGING)}
