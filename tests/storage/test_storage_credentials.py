"""Whose keys are used: variables, profiles and files, in each ecosystem's own order. No boto3 is needed for keys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hoist.errors import InvalidConfig, LocalError
from hoist.storage.credentials import aws_options, oss_options

CREDENTIALS = """
[default]
aws_access_key_id = default-id
aws_secret_access_key = default%secret

[models]
aws_access_key_id = models-id
aws_secret_access_key = models=secret
aws_session_token = models-token

[half]
aws_access_key_id = half-id
"""
CONFIG = """
[default]
region = eu-1
s3 =
    max_concurrent_requests = 20

[profile models]
region = us-9
endpoint_url = http://models.example

[profile sso]
sso_session = company
region = us-3

[profile bare]
region = us-4
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws/config").write_text(CONFIG)
    return {"HOME": str(tmp_path)}


def keys(name: str, secret: str, token: str | None = None) -> dict[str, str]:
    found = {"access_key_id": name, "secret_access_key": secret}
    return found | ({"session_token": token} if token else {})


VARIABLES = {"AWS_ACCESS_KEY_ID": "var-id", "AWS_SECRET_ACCESS_KEY": "var-secret"}


def test_nothing_at_all(tmp_path: Path) -> None:
    assert aws_options({"HOME": str(tmp_path)}, None) == {}
    assert oss_options({"HOME": str(tmp_path)}) == {}


def test_default_profile(home: dict[str, str]) -> None:
    assert aws_options(home, None) == keys("default-id", "default%secret") | {"region": "eu-1"}


def test_named_profile(home: dict[str, str]) -> None:
    expected = keys("models-id", "models=secret", "models-token")
    expected |= {"region": "us-9", "endpoint": "http://models.example"}
    assert aws_options(home, "models") == expected
    assert aws_options(home | {"AWS_PROFILE": "models"}, None) == expected
    assert aws_options(home | {"AWS_PROFILE": "sso"}, "models") == expected


def test_variables_over_the_default_and_explicit_profile_over_variables(home: dict[str, str]) -> None:
    assert aws_options(home | VARIABLES, None) == keys("var-id", "var-secret") | {"region": "eu-1"}
    found = aws_options(home | VARIABLES | {"AWS_PROFILE": "models"}, None)
    assert found["access_key_id"] == "var-id"
    assert aws_options(home | VARIABLES, "models")["access_key_id"] == "models-id"
    with_token = aws_options(home | VARIABLES | {"AWS_SESSION_TOKEN": "t"}, None)
    assert with_token["session_token"] == "t"


def test_region_variables_over_the_profile(home: dict[str, str]) -> None:
    assert aws_options(home | {"AWS_DEFAULT_REGION": "b"}, "models")["region"] == "b"
    assert aws_options(home | {"AWS_DEFAULT_REGION": "b", "AWS_REGION": "a"}, "models")["region"] == "a"


def test_files_elsewhere(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "c").write_text("[default]\naws_access_key_id=c-id\naws_secret_access_key=c-secret\n")
    (tmp_path / "f").write_text("[default]\nregion=f\n")
    variables = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "c"), "AWS_CONFIG_FILE": str(tmp_path / "f")}
    assert aws_options(home | variables, None) == keys("c-id", "c-secret") | {"region": "f"}


def test_profiles_that_are_not_there_or_hold_no_keys(home: dict[str, str]) -> None:
    with pytest.raises(InvalidConfig, match="'none'"):
        aws_options(home, "none")
    with pytest.raises(InvalidConfig, match="'none'"):
        aws_options(home | {"AWS_PROFILE": "none"}, None)
    assert aws_options(home, "bare") == {"region": "us-4"}
    assert aws_options(home, "half")["secret_access_key"] == ""


def test_broken_file_is_named_and_its_content_is_not(home: dict[str, str], tmp_path: Path) -> None:
    for text in ("[default\nsecret-value", "secret-value", "[a]\nx=secret-value\nx=secret-value\n"):
        (tmp_path / ".aws/credentials").write_text(text)
        with pytest.raises(InvalidConfig, match="credentials") as caught:
            aws_options(home, None)
        assert "secret-value" not in str(caught.value)


def test_profile_that_needs_boto3_says_so(home: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert aws_options(home, "models")["access_key_id"] == "models-id"
    with pytest.raises(LocalError, match="boto3"):
        aws_options(home, "sso")


def test_oss_variables_and_their_order(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    cloud = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "ac-id", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "ac-secret"}
    oss = {"OSS_ACCESS_KEY_ID": "oss-id", "OSS_ACCESS_KEY_SECRET": "oss-secret"}
    (tmp_path / ".ossutilconfig").write_text(
        "[Credentials]\naccessKeyID=u-id\naccessKeySecret=u-secret\nstsToken=u-t\n"
    )
    assert oss_options(home) == keys("u-id", "u-secret", "u-t")
    assert oss_options(home | cloud) == keys("ac-id", "ac-secret")
    assert oss_options(home | cloud | {"ALIBABA_CLOUD_SECURITY_TOKEN": "t"}) == keys("ac-id", "ac-secret", "t")
    assert oss_options(home | cloud | oss) == keys("oss-id", "oss-secret")
    assert oss_options(home | oss | {"OSS_SESSION_TOKEN": "s"}) == keys("oss-id", "oss-secret", "s")


def test_ossutil_file_without_a_token(tmp_path: Path) -> None:
    (tmp_path / ".ossutilconfig").write_text("[Credentials]\nlanguage=CH\naccessKeyID=u-id\naccessKeySecret=u-secret\n")
    assert oss_options({"HOME": str(tmp_path)}) == keys("u-id", "u-secret")
    (tmp_path / ".ossutilconfig").write_text("[Default]\nlanguage=CH\n")
    assert oss_options({"HOME": str(tmp_path)}) == {}
