"""What a service is told: models and their names, where it listens, tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoist.errors import HoistError, InvalidConfig, InvalidReference, UsageError
from hoist.function.service.limits import Tokens
from hoist.function.service.settings import Settings, parse_listen, parse_models

LONG = "0123456789abcdef"


def test_models_are_called_as_was_said_or_by_the_last_part_of_their_name() -> None:
    found = parse_models(["nas//sd15/anything:v5", "chat=oss//llm/qwen:v2", "/srv/models//sd15/pastelmix"])
    assert found == {
        "anything": "nas//sd15/anything:v5",
        "chat": "oss//llm/qwen:v2",
        "pastelmix": "/srv/models//sd15/pastelmix",
    }
    assert next(iter(found)) == "anything"


def test_two_models_of_one_name_are_told_apart_by_their_versions() -> None:
    found = parse_models(["nas//sd15/anything:v4", "nas//sd15/anything:v5", "nas//sd15/other:v1"])
    assert list(found) == ["sd15/anything:v4", "sd15/anything:v5", "other"]


def test_an_equals_sign_in_a_location_names_nothing() -> None:
    assert parse_models(["s3://bucket/day=1//sd15/anything:v5"]) == {"anything": "s3://bucket/day=1//sd15/anything:v5"}


@pytest.mark.parametrize(
    ("texts", "kind", "word"),
    [
        (["a=nas//m/x:1", "a=nas//m/y:1"], UsageError, "two models"),
        (["nas//m/x:1", "nas//m/x:1"], UsageError, "two models"),
        (["=nas//m/x:1"], UsageError, "no name"),
        (["naïve=nas//m/x:1"], UsageError, "no name"),
        (["a b=nas//m/x:1"], UsageError, "no name"),
        (["a=nas/x"], InvalidReference, "nas/x"),
    ],
)
def test_models_that_are_none(texts: list[str], kind: type[HoistError], word: str) -> None:
    with pytest.raises(kind, match=word):
        parse_models(texts)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        (":9000", ("0.0.0.0", 9000)),
        ("*:0", ("0.0.0.0", 0)),
        ("[::1]:9", ("::1", 9)),
        ("a-host:65535", ("a-host", 65535)),
    ],
)
def test_listen(text: str, found: tuple[str, int]) -> None:
    assert parse_listen(text) == found


@pytest.mark.parametrize("text", ["9000", "host", "host:", "host:x", "host:65536", "::1:80", "http://host:80"])
def test_listen_that_is_none(text: str) -> None:
    with pytest.raises(InvalidConfig, match="--listen"):
        parse_listen(text)


def test_settings_are_checked() -> None:
    models = {"a": "nas//m/a:1"}
    for wrong in (
        {"preload": "b"},
        {"pin": ("b",)},
        {"concurrency": 0},
        {"deadline_seconds": 0.0},
        {"request_bytes": 0},
    ):
        with pytest.raises(UsageError):
            Settings("app:handle", models, **wrong)
    with pytest.raises(UsageError, match="--models"):
        Settings("app:handle", {})
    assert Settings("app:handle", models).default_model == "a"


def test_only_a_token_lets_in() -> None:
    tokens = Tokens.of([LONG, f"  {LONG[::-1]}  ", ""], "here")
    assert tokens.allow(f"Bearer {LONG}")
    assert tokens.allow(f"bearer  {LONG[::-1]}")
    for wrong in (None, "", LONG, f"Basic {LONG}", f"Bearer {LONG}x", f"Bearer {LONG[:-1]}", "Bearer ", "Bearer é"):
        assert not tokens.allow(wrong), wrong
    assert Tokens().allow(None)


def test_no_token_is_kept_or_told(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{LONG}\nsecret with spaces\n")
    with pytest.raises(InvalidConfig) as caught:
        Tokens.read(path)
    assert "secret" not in str(caught.value)
    assert LONG not in repr(Tokens.of([LONG], "here"))
    path.write_text("\n")
    with pytest.raises(InvalidConfig, match="holds no token"):
        Tokens.read(path)
    with pytest.raises(InvalidConfig, match="cannot be read"):
        Tokens.read(tmp_path / "none")
