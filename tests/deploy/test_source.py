"""What a deployed function is told of a storage: all that it needs, nothing of this machine, no secret."""

from __future__ import annotations

import pytest
from deployments import STORAGES, source

from hoist.config import StorageConfig, load_config
from hoist.deploy.source import check_name, name_of, parse_models, source_of
from hoist.errors import InvalidConfig, InvalidReference, UsageError


@pytest.mark.parametrize("kind", ["oss", "accl", "s3"])
def test_variables_make_the_same_storage_again(kind: str) -> None:
    found = source(kind)
    config = load_config({"HOME": "/nonexistent", **found.variables()}).storage(found.name)
    had = found.config
    assert (config.url, config.region, config.endpoint, config.path_style) == (
        had.url,
        had.region,
        had.endpoint,
        had.path_style,
    )
    assert config.kind == ("accl" if kind == "accl" else None)


def test_what_means_nothing_elsewhere_is_named_and_not_written() -> None:
    found = source_of(StorageConfig("s3", "s3://b", profile="mine", ca_bundle="/home/me/ca.pem"), None)
    assert found.variables() == {"HOIST_STORAGE_S3_URL": "s3://b"}
    assert [text.partition(" ")[0] for text in found.left_out] == ["ca_bundle", "profile"]


@pytest.mark.parametrize(
    "config",
    [
        StorageConfig("s3", "s3://me:hunter2@bucket"),
        StorageConfig("s3", "s3://bucket", endpoint="https://me:hunter2@host"),
        StorageConfig("s3", "s3://bucket", accelerator=("http://me:hunter2@host",)),
    ],
    ids=["url", "endpoint", "accelerator"],
)
def test_an_address_with_a_password_is_refused(config: StorageConfig) -> None:
    with pytest.raises(UsageError, match="would hold a URL with a password") as told:
        source_of(config, None)
    assert "hunter2" not in str(told.value)


def test_kinds() -> None:
    assert [source(kind).kind for kind in STORAGES] == ["image", "nas", "oss", "accl", "oss"]
    assert source_of(STORAGES["oss"], "accl").kind == "accl"
    with pytest.raises(InvalidConfig, match="no object store"):
        source_of(STORAGES["nas"], "oss")


def test_several_as_one_are_not_deployed() -> None:
    members = (StorageConfig("eu", "s3://eu"), StorageConfig("us", "s3://us"))
    with pytest.raises(InvalidConfig, match="several as one: what is deployed names one of them: eu, us"):
        source_of(StorageConfig("models", "any://eu,us", "any", members=members), None)


def test_models() -> None:
    storage, models = parse_models(["oss//sd15/anything:v5", "pastel=oss//sd15/pastelmix:v1"])
    assert storage == "oss"
    assert [model.at("x") for model in models] == ["x//sd15/anything:v5", "pastel=x//sd15/pastelmix:v1"]
    assert name_of(models) == "anything"
    assert name_of(parse_models(["oss//1.5_x:v5"])[1]) == "m-1-5-x"
    with pytest.raises(UsageError, match="several storages"):
        parse_models(["oss//a:v1", "nas//a:v1"])
    with pytest.raises(InvalidReference):
        parse_models(["oss"])
    with pytest.raises(UsageError, match="--name"):
        check_name("Bad_Name")


def test_signers_are_said_where_they_are_accounts_and_asked_for_where_they_are_files() -> None:
    account = "me@example.com@https://accounts.example.com"
    by_account = source_of(StorageConfig("oss", "s3://models", require_signature=(account,)), None)
    assert by_account.variables()["HOIST_STORAGE_OSS_REQUIRE_SIGNATURE"] == account
    assert by_account.left_out == []
    by_key = source_of(StorageConfig("oss", "s3://models", require_signature=("/keys/a.pub", account)), None)
    assert "HOIST_STORAGE_OSS_REQUIRE_SIGNATURE" not in by_key.variables()
    (told,) = by_key.left_out
    assert "/keys/a.pub" in told
    assert "HOIST_STORAGE_OSS_REQUIRE_SIGNATURE" in told
    (told,) = source_of(StorageConfig("nas", "/srv/models", require_signature=(account,)), None).left_out
    assert " HOIST_REQUIRE_SIGNATURE" in told
