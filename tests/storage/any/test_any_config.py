"""`kind = "any"` in hoist.toml and the environment, and the commands that show it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hoist.checkup.storages import begin_storages
from hoist.config import load_config
from hoist.errors import InvalidConfig
from hoist.storage import open_storage
from hoist.storage.any.storage import AnyStorage
from makers import directory_storage, publish, write_files
from zygote import User, Zygote

MEMBERS = '[storage.eu]\nurl = "./eu"\n\n[storage.us]\nurl = "./us"\n\n'


def write(folder: Path, text: str) -> None:
    (folder / "hoist.toml").write_text(MEMBERS + text)


def test_members_in_order(tmp_path: Path) -> None:
    write(tmp_path, '[storage.models]\nkind = "any"\nmembers = ["us", "eu"]\n[engine]\nretry_seconds = 7')
    config = load_config({"HOME": str(tmp_path)}, tmp_path)
    found = config.storage("models")
    assert [member.address for member in found.members] == ["us", "eu"]
    assert {member.retry_seconds for member in found.members} == {7.0}
    assert found.members[1].url == str(tmp_path / "eu")
    with open_storage(found, config.environ) as storage:
        assert isinstance(storage, AnyStorage)
        assert (storage.kind, storage.address) == ("any", "models")


def test_members_by_the_environment_win(tmp_path: Path) -> None:
    write(tmp_path, '[storage.models]\nkind = "any"\nmembers = ["us"]')
    config = load_config({"HOME": str(tmp_path), "HOIST_STORAGE_MODELS_MEMBERS": "eu, us"}, tmp_path)
    assert [member.address for member in config.storage("models").members] == ["eu", "us"]
    (tmp_path / "hoist.toml").write_text(MEMBERS)
    config = load_config({"HOME": str(tmp_path), "HOIST_STORAGE_MODELS_MEMBERS": "eu"}, tmp_path)
    assert config.storage("models").kind == "any"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('kind = "any"', "members must name storages"),
        ('kind = "any"\nmembers = []', "members must name storages"),
        ('kind = "any"\nmembers = [1]', "members must name storages"),
        ('members = ["eu", "ap"]', r"no storage is named 'ap'; there are eu, us: add \[storage.ap\] with its url"),
        ('members = ["eu", "eu"]', "'eu' is named twice"),
        ('members = ["models"]', "'models' is itself of kind any"),
        ('members = ["other"]', "'other' is itself of kind any: name that one's members"),
        ('members = ["eu"]\nurl = "./x"', "and no url: its members have"),
        ('members = ["eu"]\nmember = ["us"]', "not 'member'"),
        ('members = ["./us"]', r"add \[storage.NAME\] with its url, and name that"),
        ('members = ["eu"]\nkind = "nas"', "members are those of kind = 'any', not of 'nas'"),
    ],
)
def test_what_is_impossible_names_the_mend(tmp_path: Path, table: str, said: str) -> None:
    write(tmp_path, f'[storage.models]\n{table}\n[storage.other]\nmembers = ["us"]')
    with pytest.raises(InvalidConfig, match=f"hoist.toml: storage 'models'.*{said}"):
        load_config({"HOME": str(tmp_path)}, tmp_path)


def test_a_url_of_that_scheme_is_no_storage(tmp_path: Path) -> None:
    config = load_config({"HOME": str(tmp_path)}, tmp_path)
    with pytest.raises(InvalidConfig, match=r"hoist\.toml"):
        open_storage(config.storage("any://eu,us"), config.environ)


def test_commands_show_and_use_it(zygote: Zygote, tmp_path: Path) -> None:
    write(tmp_path, '[storage.models]\nkind = "any"\nmembers = ["eu", "us"]')
    files = {"config.json": b"{}"}
    with directory_storage(tmp_path / "us") as storage:
        publish(write_files(tmp_path / "source", files), storage, "m/one:v1", tags=["stable"])
    user = User(zygote, tmp_path, {})
    shown = {each["name"]: each for each in user.run("list", "--json").json["storages"]}
    assert (shown["models"]["kind"], shown["models"]["url"]) == ("any", "eu, us")
    listed = user.run("list", "models")
    assert "m/one" in listed.out
    assert "eu" in listed.error
    user.run("pull", "models//m/one:stable", "out", "--quiet")
    assert (tmp_path / "out/config.json").read_bytes() == b"{}"
    config = load_config({"HOME": str(tmp_path)}, tmp_path)
    found = begin_storages(config, ["models"], read_only=True)[0].result(time.monotonic() + 20)
    assert [(each.name, each.status) for each in found] == [
        ("member 1: eu", "warning"),
        ("member 2: us", "ok"),
        ("members", "ok"),
    ]
    refused = user.refused("publish", "source", "models//m/two:v1")
    assert "publishing goes to its first member, eu" in refused.error
    (tmp_path / "eu").mkdir()
    user.run("publish", "source", "models//m/two:v1")
    assert (tmp_path / "eu/m/two/v1/config.json").exists()
    user.run("remove", "models//m/one:v1", "--yes", "--force")
    assert not (tmp_path / "us/m/one").exists()
