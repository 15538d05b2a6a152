"""`hoist audit` as a user runs it: what it says, its exit codes, and repairs that are killed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_making import FILES, LARGE, MIB, flip

from hoist.testing.servers import RadosgwServer
from makers import files_below, write_files
from zygote import User, Zygote

KILLS = int(os.environ.get("HOIST_TEST_KILLS", "50"))
MODEL = "m/one/v1/unet/model.bin"
PLAN = """
[storage.here]
url = "here"
[storage.far]
url = "far"
[sync.production]
from = "here"
to = ["far"]
"""


@pytest.fixture
def user(zygote: Zygote, tmp_path: Path) -> User:
    """A user with the directories `here` and `far`."""
    for name in ("here", "far"):
        (tmp_path / name).mkdir()
    (tmp_path / "hoist.toml").write_text(PLAN)
    return User(zygote, tmp_path, {})


def publish(user: User, files: dict[str, bytes], *locations: str) -> None:
    write_files(user.home / "source", files)
    for location in locations:
        user.run("publish", "source", location, "--quiet")


def test_nothing_is_wrong(user: User) -> None:
    publish(user, {"w.bin": b"w" * 1000}, "here//m/one:v1", "far//m/one:v1")
    done = user.run("audit", "--quiet")
    lines = done.out.splitlines()
    assert lines[0].startswith("looked at here: 1 version, 0 tags, 1000 B; 1000 B read and checked (100.0%)")
    assert lines[-1].startswith("nothing is wrong (sample 5%, seed ")
    found = user.run("audit", "here", "--whole", "--json").json
    assert (found["clean"], found["sample"], found["plan"], found["findings"]) == (True, "whole", None, [])
    assert found["storages"] == [
        {"storage": "here", "kind": "nas", "versions": 1, "files": 1, "tags": 0, "size_bytes": 1000, "read_bytes": 1000}
    ]
    assert user.run("audit", "--seed", "7", "--json").json["plan"] == "production"


def test_damage_is_told_then_repaired(user: User) -> None:
    publish(user, FILES, "here//m/one:v1", "far//m/one:v1")
    flip(user.home / "here" / MODEL, 9 * MIB)
    ended = user.tries("audit", "here", "far", "--whole", "--quiet")
    assert (ended.code, ended.error) == (1, "")
    assert "  damaged       m/one:v1/unet/model.bin: damaged at bytes " in ended.out
    assert "mend: run hoist audit --repair" in ended.out
    assert "1 finding left (sample whole; " in ended.out
    alone = user.tries("audit", "here", "--whole", "--repair", "--json")
    (item,) = alone.json["findings"]
    assert (alone.code, item["repaired"]) == (1, False)
    assert item["not_repaired"].startswith("no other storage of this audit has bytes ")
    healed = user.run("audit", "here", "far", "--whole", "--repair", "--quiet")
    assert "  repaired      m/one:v1/unet/model.bin: damaged at bytes " in healed.out
    assert "nothing is wrong, 1 repaired" in healed.out
    assert user.run("audit", "here", "--whole", "--json").json["findings"] == []


def test_very_many_findings(user: User) -> None:
    publish(user, {f"{number}.bin": b"x" for number in range(50)}, "here//m/one:v1")
    for path in (user.home / "here/m/one/v1").iterdir():
        path.unlink()
    ended = user.tries("audit", "here", "--quiet")
    assert ended.out.count("missing-file  m/one:v1/") == 20
    assert "and 30 more of this kind" in ended.out
    assert len(user.tries("audit", "here", "--json").json["findings"]) == 50


def test_who_may_not_read_is_told(user: User) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be nobody for a while")
    publish(user, {"w.bin": b"w" * 1000}, "here//m/one:v1", "here//m/one:v2")
    for path in (user.home, *user.home.parents):
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    (user.home / "here/.hoist/versions/m/one/v1/manifest.json").chmod(0o400)
    ended = user.tries("audit", "here", "--whole", "--json", nobody=True)
    found = ended.json
    assert ended.code == 1
    assert [(item["kind"], item["what"]) for item in found["findings"] if item["kind"] != "unprotected"] == [
        ("unreachable", "m/one:v1")
    ]
    assert found["storages"][0]["versions"] == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nowhere",), 3),
        (("here", "--sample", "much"), 2),
        (("here", "--whole", "--no-bytes"), 2),
        (("production", "here"), 2),
        (("./other.toml",), 2),
    ],
)
def test_mistakes(user: User, words: tuple[str, ...], code: int) -> None:
    assert user.tries("audit", *words).code == code


def killed_repairs(user: User, break_it: Callable[[], None], state: Callable[[], dict[str, bytes]], least: int) -> None:
    """Each file is as it was or whole after each kill; at the end all are, and a further repair finds nothing to do."""
    whole = state()
    chance = random.Random(least)
    break_it()
    took = user.run("audit", "here", "far", "--whole", "--repair", "--quiet").seconds
    assert state() == whole
    kills = 0
    for _ in range(4 * least):
        break_it()
        before = state()
        ended = user.tries(
            "audit", "here", "far", "--whole", "--repair", "--quiet", kill=took * chance.uniform(0.2, 0.8)
        )
        now = state()
        assert now.keys() <= whole.keys()
        for path, data in whole.items():
            assert now.get(path) in (data, before.get(path)), path
        kills += ended.killed
        took = ended.seconds if not ended.killed else took
        user.run("audit", "here", "far", "--whole", "--repair", "--quiet")
        assert state() == whole
        if kills >= least:
            break
    assert kills >= least


def test_repairs_of_a_directory_that_are_killed(user: User) -> None:
    publish(user, LARGE, "here//m/one:v1", "far//m/one:v1")

    def break_it() -> None:
        flip(user.home / "here" / MODEL, 5, 16 * MIB)
        flip(user.home / "here/m/one/v1/vae.bin", 5)
        (user.home / "here/m/one/v1/config.json").unlink()

    killed_repairs(user, break_it, lambda: files_below(user.home / "here/m"), max(2, KILLS // 5))
    # What kills have left is known for what it is.
    left = user.run("collect", "here", "--grace", "0s", "--yes", "--json").json["leftovers"]
    assert {item["kind"] for item in left} <= {"upload"}
    assert user.run("audit", "--whole", "--json").json["findings"] == []


def test_repairs_of_a_bucket_that_are_killed(user: User, radosgw_server: RadosgwServer) -> None:
    import obstore

    bucket = f"audit-kills-{os.getpid()}"
    radosgw_server.create_bucket(bucket)
    store = radosgw_server.open_store(bucket)
    user = user.with_env(
        AWS_ACCESS_KEY_ID=radosgw_server.access_key,
        AWS_SECRET_ACCESS_KEY=radosgw_server.secret_key,
        HOIST_STORAGE_HERE_URL=f"s3://{bucket}/models",
        HOIST_STORAGE_HERE_ENDPOINT=radosgw_server.endpoint,
        HOIST_STORAGE_HERE_REGION=radosgw_server.region,
    )
    publish(user, LARGE, "here//m/one:v1", "far//m/one:v1")

    def get(path: str) -> bytes:
        return obstore.get(store, f"models/m/one/v1/{path}").bytes().to_bytes()

    def break_it() -> None:
        for path, offset in (("unet/model.bin", 16 * MIB), ("vae.bin", 5)):
            data = bytearray(get(path))
            data[offset] ^= 1
            obstore.put(store, f"models/m/one/v1/{path}", bytes(data))

    killed_repairs(user, break_it, lambda: {path: get(path) for path in LARGE}, max(1, KILLS // 10))
    left = user.run("collect", "here", "--grace", "0s", "--yes", "--json").json["leftovers"]
    assert {item["kind"] for item in left} <= {"upload"}
