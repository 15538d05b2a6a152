"""Whole commands on a registry that is sick end rightly, or with an error that says why, and leave nothing half done."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest
from image_makers import MIB, image_at, model_folder, put_base, tags_that_are_whole, tar_of

from hoist.config import Config
from hoist.image.verbs import build, copy
from hoist.testing.servers import DockerRegistry, FaultServer, Rule, ServerOrigin
from hoist.testing.servers.fault_kinds import (
    CutSent,
    Fault,
    Flip,
    FlipSent,
    Garbage,
    GarbageHeader,
    Long,
    Redirect,
    Refusal,
    Reset,
    Short,
    Stalled,
    WrongLength,
)
from makers import Raw, files_below, noise, safetensors_bytes, write_files
from zygote import Ended, User, Zygote

REQUESTS = (
    ("POST", "*/blobs/uploads/*"),
    ("PATCH", "*"),
    ("PUT", "*/blobs/uploads/*"),
    ("PUT", "*/manifests/*"),
    ("HEAD", "*"),
    ("GET", "*/manifests/*"),
    ("GET", "*/blobs/*"),
    ("GET", "*/tags/list"),
)
FAULTS: Sequence[Fault] = (
    Reset("before"),
    Reset("after"),
    Refusal(429, retry_after=0),
    Refusal(500, done=True),
    Refusal(503),
    Refusal(404, code="NAME_UNKNOWN"),
    Refusal(401, code="UNAUTHORIZED"),
    Refusal(403, code="DENIED"),
    Garbage(),
    GarbageHeader(),
    Short(),
    Long(),
    WrongLength(7),
    Flip(),
    FlipSent(),
    CutSent(),
    Stalled("body", 0.2),
    Redirect(),
)
FILES = {
    "unet.safetensors": safetensors_bytes([Raw("w", "F16", [2 * MIB + 5000], noise(4 * MIB + 10_000))]),
    "vae.bin": noise(4 * MIB + 9000, 1),
    "config.json": b"{}",
    "t/b.txt": noise(9000, 2),
}
V6 = FILES | {"vae.bin": noise(4 * MIB + 9000, 7), "config.json": b"[]"}


class Sick:
    """A user behind a sick registry, who publishes, updates, pulls and loads; and what is there after it, looked at past
    the sickness."""

    def __init__(self, registry: DockerRegistry, server: FaultServer, user: User) -> None:
        self.server = server
        self.prefix = f"t{uuid4().hex[:12]}"
        self.well = f"{registry.host}/{self.prefix}"
        self.ill = f"{server.endpoint.partition('//')[2]}/{self.prefix}"
        self.user = user
        self.ended: list[Ended] = []
        home = user.home
        write_files(home / "m", FILES)
        self.models = model_folder(home / "models", {"m/one:v5": FILES, "m/one:v6": V6})
        self.config = Config(environ={"HOME": str(home / "well")})
        with image_at(f"{self.well}/base:1") as image:
            put_base(image, [tar_of({"bin/x": noise(MIB)})])
        build([f"{self.models}//m/one:v5"], f"{self.well}/app:v5", base=f"{self.well}/base:1", config=self.config)
        user.run("publish", "m", f"oci://{self.well}/models//m/one:v5", "--quiet")

    def tries(self, rules: Sequence[Rule], seed: int, *words: str) -> Ended:
        """A command under these rules: it succeeds, or one line says what is wrong."""
        self.server.plan(*rules, seed=seed)
        ended = self.user.tries(*words)
        self.server.plan()
        assert ended.code == 0 or ended.error.startswith("hoist: error: "), (rules, words, ended.error)
        self.ended.append(ended)
        return ended

    def round(self, rules: Sequence[Rule], seed: int) -> None:
        """Every kind of command once."""
        name = f"r{uuid4().hex[:8]}"
        user = self.user
        # Nothing of what is sent is there, nor known to be elsewhere.
        write_files(user.home / "m", FILES | {"vae.bin": noise(4 * MIB + 9000, seed + 100)})
        done = self.tries(rules, seed, "publish", "m", f"oci://{self.ill}/{name}//m/one:v9", "--quiet")
        found = tags_that_are_whole(f"{self.well}/{name}/m/one:v9", "m/one", read=True)
        assert found == {"v9": "v9"} if done.code == 0 else found in ({}, {"v9": "v9"})

        copy(f"{self.well}/app:v5", f"{self.well}/{name}/app:v5", config=self.config)
        model = f"{self.models}//m/one:v6"
        done = self.tries(rules, seed, "image", "update", f"{self.ill}/{name}/app:v5", "--model", model, "--quiet")
        found = tags_that_are_whole(f"{self.well}/{name}/app:v5", "m/one", read=True)
        assert found == {"v5": "v6"} if done.code == 0 else found in ({"v5": "v5"}, {"v5": "v6"})

        location, out = f"oci://{self.ill}/models//m/one:v5", user.home / name
        done = self.tries(rules, seed, "pull", location, name, "--quiet")
        placed = {path: data for path, data in files_below(out).items() if not path.startswith(".hoist-pull")}
        assert placed == FILES if done.code == 0 else placed.items() <= FILES.items()
        done = self.tries(rules, seed, "load", location, "unet.safetensors", "--json", "--quiet")
        if done.code == 0:
            assert done.json["tensors"] == 1


@pytest.fixture(scope="module")
def sick(docker_registry: DockerRegistry, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sick]:
    with FaultServer(ServerOrigin(docker_registry.endpoint)) as server:
        env = {"HOIST_RETRY_SECONDS": "8"}
        yield Sick(docker_registry, server, User(zygote, tmp_path_factory.mktemp("sick"), env))


def drawn(rng: random.Random, **options: float) -> Rule:
    method, path = rng.choice(REQUESTS)
    return Rule(rng.choice(FAULTS), method, path, **options)  # type: ignore[arg-type]


def test_what_passes_is_survived(sick: Sick) -> None:
    """Several faults at once, each a few times."""
    for seed in range(8):
        rng = random.Random(seed)
        rules = [drawn(rng, count=2, chance=0.7, first=rng.randrange(3)) for _ in range(3)]
        sick.round(rules, seed)
    codes = [ended.code for ended in sick.ended]
    assert codes.count(0) >= len(codes) // 2


@pytest.mark.long
def test_what_stays_ends_in_an_error(sick: Sick) -> None:
    """One kind of request never comes right."""
    user, before = sick.user, len(sick.ended)
    sick.user = user.with_env(HOIST_RETRY_SECONDS="0.3")
    rng = random.Random(5)
    try:
        for number, fault in enumerate(rng.sample(FAULTS, 10)):
            method, path = REQUESTS[number % len(REQUESTS)]
            sick.round([Rule(fault, method, path, first=rng.randrange(2))], number)
    finally:
        sick.user = user
    assert any(ended.code for ended in sick.ended[before:])
