"""hoist.toml and the environment: what each says, which one wins, and errors that name the file and the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.config import EngineConfig, StorageConfig, load_config, parse_size, say
from hoist.errors import InvalidConfig, StorageNotFound

FULL = """
[storage.oss]
url = "s3://models/prefix"
kind = "accl"
region = "cn-hangzhou"
endpoint = "https://s3.example.com"
path_style = true
ca_bundle = "/etc/ssl/own.pem"
profile = "models"
anonymous = false
accelerator = ["http://a:8080", "http://b:8080"]
require_signature = ["keys/release.pub", "/etc/other.pub", "me@example.com@https://accounts.example.com"]

[engine]
connections = 8
memory = "128MiB"
retry_seconds = 1.5
"""
UNITS = {"": 1, "B": 1, "K": 1 << 10, "KiB": 1 << 10, "kb": 1 << 10, "M": 1 << 20, "MiB": 1 << 20}
UNITS |= {"G": 1 << 30, " GB": 1 << 30, "gib": 1 << 30, "T": 1 << 40, "TiB": 1 << 40}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def env(folder: Path, **more: str) -> Mapping[str, str]:
    return {"HOME": str(folder / "home")} | more


def test_every_field(tmp_path: Path) -> None:
    write(tmp_path / "hoist.toml", FULL)
    config = load_config(env(tmp_path), tmp_path)
    assert config.storage("oss") == StorageConfig(
        "oss",
        "s3://models/prefix",
        "accl",
        "cn-hangzhou",
        "https://s3.example.com",
        True,
        "/etc/ssl/own.pem",
        "models",
        False,
        ("http://a:8080", "http://b:8080"),
        require_signature=(
            f"{tmp_path}/keys/release.pub",
            "/etc/other.pub",
            "me@example.com@https://accounts.example.com",
        ),
        retry_seconds=1.5,
    )
    assert replace(config.engine, trusted=None, uploads=None) == EngineConfig(8, 128 << 20, 1.5)


def test_nothing_configured(tmp_path: Path) -> None:
    config = load_config(env(tmp_path), tmp_path)
    assert dict(config.storages) == {}
    assert replace(config.engine, trusted=None, uploads=None) == EngineConfig()


def test_project_over_user_and_nearest_project(tmp_path: Path) -> None:
    write(tmp_path / "home/.config/hoist/hoist.toml", '[storage.a]\nurl="/u/a"\n[storage.b]\nurl="/u/b"\nkind="oss"\n')
    write(tmp_path / "hoist.toml", '[storage.far]\nurl="/far"\n')
    write(tmp_path / "project/hoist.toml", '[storage.b]\nurl="/p/b"\n[engine]\nconnections=3\n')
    (tmp_path / "project/deep/er").mkdir(parents=True)
    config = load_config(env(tmp_path), tmp_path / "project/deep/er")
    assert {name: found.url for name, found in config.storages.items()} == {"a": "/u/a", "b": "/p/b"}
    assert config.storage("b").kind is None
    assert config.engine.connections == 3


def test_engine_fields_come_together_from_all_places(tmp_path: Path) -> None:
    write(tmp_path / "xdg/hoist/hoist.toml", '[engine]\nconnections = 2\nmemory = "2MiB"\nretry_seconds = 2\n')
    write(tmp_path / "hoist.toml", '[engine]\nmemory = "3MiB"\nretry_seconds = 3\n')
    variables = env(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg"), HOIST_RETRY_SECONDS="4")
    assert replace(load_config(variables, tmp_path).engine, trusted=None, uploads=None) == EngineConfig(2, 3 << 20, 4.0)


def test_one_named_file_replaces_the_others(tmp_path: Path) -> None:
    write(tmp_path / "hoist.toml", '[storage.a]\nurl="/a"\n')
    named = write(tmp_path / "other.toml", '[storage.b]\nurl="/b"\n')
    assert set(load_config(env(tmp_path, HOIST_CONFIG=str(named)), tmp_path).storages) == {"b"}
    with pytest.raises(InvalidConfig, match=r"HOIST_CONFIG.*none\.toml"):
        load_config(env(tmp_path, HOIST_CONFIG=str(tmp_path / "none.toml")), tmp_path)


def test_paths_are_relative_to_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    write(
        tmp_path / "hoist.toml",
        '[storage.a]\nurl="models"\n[storage.b]\nurl="../b"\n[storage.c]\nurl="/c"\n[storage.d]\nurl="~/d"\n'
        '[storage.e]\nurl="file:///e"\n',
    )
    config = load_config(env(tmp_path, HOIST_STORAGE_B_URL="here"), tmp_path)
    urls = {name: found.url for name, found in config.storages.items()}
    assert urls == {"a": f"{tmp_path}/models", "b": "here", "c": "/c", "d": "/home/me/d", "e": "file:///e"}


def test_environment_over_files(tmp_path: Path) -> None:
    write(tmp_path / "hoist.toml", '[storage.my-oss]\nurl="s3://a"\nregion="x"\npath_style=true\n')
    config = load_config(
        env(
            tmp_path,
            HOIST_STORAGE_MY_OSS_REGION="y",
            HOIST_STORAGE_MY_OSS_PATH_STYLE="false",
            HOIST_STORAGE_NAS_URL="/nas",
            HOIST_STORAGE_NAS_ANONYMOUS="1",
            HOIST_STORAGE_PATH_STYLE_URL="/odd",
        ),
        tmp_path,
    )
    assert config.storage("my-oss") == StorageConfig("my-oss", "s3://a", region="y", path_style=False)
    assert config.storage("nas") == StorageConfig("nas", "/nas", anonymous=True)
    assert config.storage("path_style").url == "/odd"


def test_url_or_path_in_a_names_place(tmp_path: Path) -> None:
    variables = env(
        tmp_path,
        HOIST_ENDPOINT="http://h:1",
        HOIST_REGION="r",
        HOIST_PATH_STYLE="yes",
        HOIST_CA_BUNDLE="/ca",
        HOIST_ANONYMOUS="on",
        HOIST_PROFILE="p",
    )
    found = load_config(variables, tmp_path).storage("s3://b/p")
    assert found == StorageConfig("s3://b/p", "s3://b/p", None, "r", "http://h:1", True, "/ca", "p", True)
    for path in ("/srv/models", "./models", "../models", "~/models", ".", "..", "file:///srv"):
        assert load_config(env(tmp_path), tmp_path).storage(path) == StorageConfig(path, path)
    with pytest.raises(InvalidConfig, match="path_style"):
        load_config(env(tmp_path, HOIST_PATH_STYLE="maybe"), tmp_path).storage("s3://b")


def test_unknown_storage_says_what_there_is(tmp_path: Path) -> None:
    write(tmp_path / "hoist.toml", '[storage.nas]\nurl="/a"\n[storage.oss]\nurl="s3://b"\n')
    with pytest.raises(StorageNotFound, match=r"'nsa'; hoist.toml has nas, oss"):
        load_config(env(tmp_path), tmp_path).storage("nsa")
    with pytest.raises(StorageNotFound, match=r"\[storage.nsa\]"):
        load_config(env(tmp_path), tmp_path / "home").storage("nsa")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[storage.a]\nurl="/a"\ncolour="red"\n', "colour"),
        ("[storage.a]\n", "no url"),
        ('[storage.a]\nurl=""\n', "no url"),
        ("[storage.a]\nurl=5\n", "no url"),
        ('[storage.a]\nurl="/a"\nkind="tape"\n', "tape"),
        ('[storage.a]\nurl="/a"\nregion=5\n', "region"),
        ('[storage.a]\nurl="/a"\nanonymous="perhaps"\n', "anonymous"),
        ('[storage.A]\nurl="/a"\n', "storage.A"),
        ('[storage."a b"]\nurl="/a"\n', "storage.a b"),
        ('storage = "x"\n', "storage"),
        ("[storage]\na = 1\n", "storage.a"),
        ("[stroage.a]\n", "stroage"),
        ("[engine]\nspeed = 1\n", "speed"),
        ('[engine]\nmemory = "lots"\n', "memory"),
        ('[engine]\nconnections = "many"\n', "connections"),
        ("[engine]\nconnections = 0\n", "connections"),
        ("[engine]\nretry_seconds = -1\n", "retry_seconds"),
        ("[engine]\nretry_seconds = nan\n", "retry_seconds"),
        ("[engine]\nconnections = inf\n", "connections"),
        ("[engine]\nmemory = 5\n", "memory"),
        ("[engine\n", "line 1"),
    ],
)
def test_errors_name_the_file_and_the_field(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "hoist.toml", text)
    with pytest.raises(InvalidConfig) as caught:
        load_config(env(tmp_path), tmp_path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "variable",
    [
        {"HOIST_STORAGE_NAS_COLOUR": "red"},
        {"HOIST_STORAGE_NAS_REGION": "x"},
        {"HOIST_STORAGE_URL": "/x"},
        {"HOIST_STORAGE__URL": "/x"},
        {"HOIST_MEMORY": "lots"},
        {"HOIST_CONNECTIONS": "-1"},
    ],
)
def test_errors_name_the_variable(tmp_path: Path, variable: dict[str, str]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load_config(env(tmp_path, **variable), tmp_path)
    (name,) = variable
    assert name in str(caught.value) or ("HOIST_STORAGE_" in str(caught.value) and "'nas'" in str(caught.value))


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "hoist.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfig, match=r"hoist\.toml"):
        load_config(env(tmp_path), tmp_path)


@given(st.integers(0, 10**15), st.sampled_from(sorted(UNITS)))
def test_sizes(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * UNITS[unit]
    assert parse_size(f" {number}{unit.lower()} ") == number * UNITS[unit]


@given(st.integers(0, 2**63))
def test_whole_numbers_are_bytes(number: int) -> None:
    assert parse_size(number) == parse_size(str(number)) == number


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except InvalidConfig as error:
        assert repr(text) in str(error)


def test_fractions_and_nonsense() -> None:
    assert parse_size("1.5G") == 3 << 29
    assert parse_size("0.1K") == 102
    for text in ("", "G", "-1", "1e3", "1.G", ".5G", "5IB", "1 0", "1GG", "1XB", "9" * 400, "٣"):
        with pytest.raises(InvalidConfig):
            parse_size(text)


def test_max_bandwidth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.config._SAID", {})
    (tmp_path / "hoist.toml").write_text('[engine]\nmax_bandwidth = "200MiB"\n')
    assert load_config({}, tmp_path).engine.max_bandwidth == 200 << 20
    assert load_config({"HOIST_MAX_BANDWIDTH": "0"}, tmp_path).engine.max_bandwidth is None
    say("max_bandwidth", "3M")
    assert load_config({"HOIST_MAX_BANDWIDTH": "9M"}, tmp_path).engine.max_bandwidth == 3 << 20
    for wrong in ("fast", "12", "-1"):
        with pytest.raises(InvalidConfig, match="--max-bandwidth"):
            say("max_bandwidth", wrong)
    assert load_config({}, tmp_path).engine.max_bandwidth == 3 << 20


def test_signers_of_a_variable_are_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write(tmp_path / "hoist.toml", '[storage.a]\nurl = "models"\nrequire_signature = "a.pub"\n')
    assert load_config(env(tmp_path)).storage("a").require_signature == (f"{tmp_path}/a.pub",)
    said = load_config(env(tmp_path, HOIST_STORAGE_A_REQUIRE_SIGNATURE="b.pub,/c.pub")).storage("a")
    assert (said.url, said.require_signature) == (f"{tmp_path}/models", (f"{tmp_path}/work/b.pub", "/c.pub"))
    bare = load_config(env(tmp_path, HOIST_REQUIRE_SIGNATURE="b.pub")).storage("/srv/models")
    assert bare.require_signature == (f"{tmp_path}/work/b.pub",)


@pytest.mark.parametrize("given", ["[]", '""', '" , "', "true", "[1]", '["a.pub", 2]', '"~nobody-here/a.pub"'])
def test_signers_that_are_none(given: str, tmp_path: Path) -> None:
    """Above all: what is empty by mistake must not require nothing."""
    write(tmp_path / "hoist.toml", f'[storage.a]\nurl = "/a"\nrequire_signature = {given}\n')
    with pytest.raises(InvalidConfig, match="require_signature"):
        load_config(env(tmp_path), tmp_path)
