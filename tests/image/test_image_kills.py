"""SIGKILL at random moments of publish, image update and pull, on a real registry: no tag ever names what is not whole.

HOIST_TEST_KILLS sets how many each of the three tests does: with those of test_image_commands.py a hundred in all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from image_makers import MIB, image_at, model_folder, put_base, tags_that_are_whole, tar_of

from hoist.config import Config
from hoist.image.verbs import build, copy
from hoist.testing.servers import DockerRegistry
from makers import files_below, noise, write_files
from zygote import Ended, User, Zygote

KILLS = int(os.environ.get("HOIST_TEST_KILLS", "28"))
STAGING = ".hoist-pull"
LARGE = 4 * MIB + 9000
FILES = {"unet.bin": noise(LARGE), "vae.bin": noise(LARGE, 1), "config.json": b"{}", "t/b.txt": noise(9000, 2)}


@pytest.fixture
def where(docker_registry: DockerRegistry) -> str:
    return f"{docker_registry.host}/t{uuid4().hex[:12]}"


@pytest.fixture
def user(zygote: Zygote, tmp_path: Path, where: str) -> User:
    return User(zygote, tmp_path, {"HOIST_STORAGE_HERE_URL": f"oci://{where}/models"})


def moments(whole: Callable[[], float], seed: int) -> Iterator[float]:
    """When to kill next: spread over the time that a whole run takes, in random order, again and again."""
    rng = random.Random(seed)
    seconds = sorted(whole() for _ in range(3))[1]
    parts: list[float] = []
    for number in range(4 * KILLS):
        if not parts:
            parts = [(part + rng.random()) / KILLS for part in range(KILLS)]
            rng.shuffle(parts)
        if number % 12 == 11:
            seconds = whole()
        yield parts.pop() * seconds


def test_publish(user: User, where: str) -> None:
    home, number, killed = user.home, 0, 0

    def publish(label: str, kill: float | None = None) -> Ended:
        ended = user.tries("publish", "m", f"here//m/one:{label}", "--quiet", kill=kill)
        assert ended.killed or ended.code == 0, ended.error
        return ended

    def fresh() -> str:
        """Other bytes each time, so that no layer is there already; and a label for them."""
        nonlocal number
        number += 1
        write_files(home / "m", FILES | {"unet.bin": noise(LARGE, 2 * number), "vae.bin": noise(LARGE, -number)})
        return f"v{number}"

    def whole() -> float:
        label = fresh()
        seconds = publish(label).seconds
        done.add(label)
        return seconds

    done: set[str] = set()
    label = ""
    for seconds in moments(whole, 1):
        if killed == KILLS:
            break
        # Every third kill hits a run that goes on with what the last one left.
        label = label if label and killed % 3 == 2 else fresh()
        ended = publish(label, seconds)
        killed += ended.killed
        with image_at(f"{where}/models/m/one:x") as image:
            there = set(image.place.tags(image.repository))
        assert there - done <= {label}
        assert ended.killed or label in there
        if label not in there and killed % 3 == 0:
            publish(label)
            there.add(label)
        done |= there
        if label in there:
            label = ""
    assert killed == KILLS
    found = tags_that_are_whole(f"{where}/models/m/one:x", "m/one", read=True)
    assert found == {tag: tag for tag in done}


def test_update(user: User, where: str, tmp_path: Path) -> None:
    """In place, and under another tag: the image is the one before or the one after."""
    v6 = FILES | {"vae.bin": noise(LARGE, 7), "unet.bin": noise(LARGE, 8)}
    models = model_folder(tmp_path / "models", {"m/one:v5": FILES, "m/one:v6": v6})
    config = Config(environ={"HOME": str(tmp_path)})
    with image_at(f"{where}/base:1") as image:
        put_base(image, [tar_of({"bin/x": noise(MIB)})])
    build([f"{models}//m/one:v5"], f"{where}/app:v5", base=f"{where}/base:1", config=config)
    count = 0

    def fresh() -> str:
        """The image in a repository of its own, where nothing of the update is."""
        nonlocal count
        count += 1
        copy(f"{where}/app:v5", f"{where}/app{count}:v5", config=config)
        return f"{where}/app{count}:v5"

    def run(target: str, tag: str, kill: float | None = None) -> Ended:
        # This host's notes would lead to another repository's layers, which are mounted.
        notes = user.with_env(XDG_CACHE_HOME=str(tmp_path / target.rpartition("/")[2]))
        words = ["image", "update", target, "--model", f"{models}//m/one:v6", "--tag", tag, "--quiet"]
        ended = notes.tries(*words, kill=kill)
        assert ended.killed or ended.code == 0, ended.error
        return ended

    killed = 0
    for seconds in moments(lambda: run(fresh(), "v6").seconds, 2):
        if killed == KILLS:
            break
        target, tag = fresh(), "v6" if killed % 2 else "v5"
        ended = run(target, tag, seconds)
        killed += ended.killed
        found = tags_that_are_whole(target, "m/one", read=False)
        assert found.pop("v5") in (("v5", "v6") if tag == "v5" else ("v5",))
        assert found in ({}, {"v6": "v6"})
        if killed % 3 == 0:
            run(target, tag)
            assert tags_that_are_whole(target, "m/one", read=True)[tag] == "v6"
    assert killed == KILLS


def test_pull(user: User) -> None:
    write_files(user.home / "m", FILES)
    user.run("publish", "m", "here//m/one:v1", "--quiet")
    count = kept = killed = 0

    def whole() -> float:
        nonlocal count
        count += 1
        return user.run("pull", "here//m/one:v1", f"whole{count}", "--quiet").seconds

    for number, seconds in enumerate(moments(whole, 3)):
        if killed == KILLS:
            break
        # Three kills, one after the other, hit the same pull.
        out = user.home / f"out{number // 3}"
        ended = user.tries("pull", "here//m/one:v1", out.name, "--quiet", kill=seconds)
        killed += ended.killed
        placed = {path: data for path, data in files_below(out).items() if not path.startswith(STAGING)}
        assert placed.items() <= FILES.items()
        assert ended.killed or placed == FILES
        if number % 3 == 2:
            done = user.run("pull", "here//m/one:v1", out.name, "--quiet", "--json").json
            kept += done["kept_bytes"] > 0
            assert files_below(out) == FILES
    assert killed == KILLS
    assert kept
