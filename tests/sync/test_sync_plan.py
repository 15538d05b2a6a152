"""What a plan may say, where it is found, and how it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sync_making import plan

from hoist.cli.parser import build_parser
from hoist.config import load_config
from hoist.errors import InvalidConfig, UsageError
from hoist.sync.find import find_plan, means_plan
from hoist.sync.plan import DEFAULT_INTERVAL, ModelPattern, parse_plan

PLAN = '[sync.{name}]\nfrom = "{source}"\nto = ["us"]\n'


def test_everything_that_a_plan_may_say() -> None:
    found = plan(
        to=["us", "./nas", "us"],
        models=["sd15/*", "llm/qwen:stable"],
        tags=["stable"],
        keep=3,
        prune=True,
        interval="5m",
        max_bandwidth="200MiB",
    )
    assert found.source == "eu"
    assert found.targets == ("us", "/plans/nas")
    assert found.models == (ModelPattern("sd15/*"), ModelPattern("llm/qwen", "stable"))
    assert (found.keep, found.prune, found.interval_seconds, found.max_bandwidth) == (3, True, 300.0, 200 << 20)


def test_what_it_does_not_say() -> None:
    found = plan(to="us")
    assert (found.targets, found.tags, found.keep, found.prune) == (("us",), ("*",), 0, False)
    assert (found.interval_seconds, found.max_bandwidth) == (DEFAULT_INTERVAL, None)
    assert found.names_model("any/thing")
    assert found.only_names() is None


def test_names_and_tags_that_are_meant() -> None:
    found = plan(models=["sd15/*", "llm/qwen:stable", "sdxl/base:v1"], tags=["stable", "l*"])
    assert [found.names_model(name) for name in ("sd15/a", "sd15/a/b", "sd1", "llm/qwen", "llm/other")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert found.keeps_tag("sd15/a", "latest")
    assert not found.keeps_tag("sd15/a", "canary")
    assert found.keeps_tag("llm/qwen", "stable")
    assert not found.keeps_tag("llm/qwen", "latest")
    assert plan(models=["a/b", "c:v*"]).only_names() == ("a/b", "c")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"from": ""}, "has no from"),
        ({"from": 3}, "has no from"),
        ({"to": []}, "must not be empty"),
        ({"to": 3}, "must be a list"),
        ({"to": ["us", "eu"]}, "stands in from and in to"),
        ({"form": "eu"}, "unknown field 'form'"),
        ({"models": ["a:"]}, "'a:' is no pattern"),
        ({"models": [":v1"]}, "':v1' is no pattern"),
        ({"models": [""]}, "must be a list of texts"),
        ({"models": ["SD15/*"]}, "'SD15/\\*' fits nothing: write lower-case"),
        ({"models": ["a:b:c"]}, "'a:b:c' fits nothing"),
        ({"models": ["[ab"]}, "close the bracket"),
        ({"tags": ["my tag"]}, "tags: 'my tag' fits nothing"),
        ({"keep": -1}, "keep is how many"),
        ({"keep": True}, "keep is how many"),
        ({"prune": "yes"}, "must be true or false"),
        ({"interval": "soon"}, "is not a time"),
        ({"interval": 0}, "at least one second"),
        ({"max_bandwidth": "fast"}, "is not a size"),
        ({"max_bandwidth": 12}, "at least 1KiB"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidConfig, match=says) as error:
        parse_plan("p", {"from": "eu", "to": ["us"], **fields}, "hoist.toml: [sync.p]")
    assert str(error.value).startswith("hoist.toml: [sync.p]")


def environ(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "HOIST_CONFIG": str(folder / "hoist.toml")}


def test_a_plan_is_found_by_name_or_alone(tmp_path: Path) -> None:
    (tmp_path / "hoist.toml").write_text(PLAN.format(name="one", source="eu"))
    config = load_config(environ(tmp_path))
    assert find_plan("", config)[0] == find_plan("one", config)[0]
    assert find_plan("one", config)[0].name == "one"
    assert means_plan("one", config)
    assert not means_plan("two", config)
    with pytest.raises(UsageError, match=r"no plan 'two': it has one"):
        find_plan("two", config)
    (tmp_path / "hoist.toml").write_text(PLAN.format(name="one", source="eu") + PLAN.format(name="two", source="ap"))
    with pytest.raises(UsageError, match=r"say which plan: hoist\.toml has one, two"):
        find_plan("", load_config(environ(tmp_path)))


def test_a_file_of_its_own_may_hold_plan_and_storages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hoist.toml").write_text('[storage.eu]\nurl = "./eu"\n' + PLAN.format(name="one", source="eu"))
    (tmp_path / "more").mkdir()
    more = tmp_path / "more" / "production.toml"
    more.write_text('[storage.us]\nurl = "./us"\n' + PLAN.format(name="two", source="./here"))
    config = load_config(environ(tmp_path))
    found, reached = find_plan(str(more), config)
    assert (found.name, found.source) == ("two", str(tmp_path / "more" / "here"))
    assert reached.storage("us").url == str(tmp_path / "more" / "us")
    assert reached.storage("eu").url == str(tmp_path / "eu")
    assert find_plan(f"{more}//two", config)[0] == found
    monkeypatch.chdir(tmp_path)
    assert find_plan("./more/production.toml", config)[0].name == "two"
    with pytest.raises(UsageError, match="has no plan 'one'"):
        find_plan(f"{more}//one", config)
    with pytest.raises(InvalidConfig, match=r"\./none\.toml: No such file: name a \.toml file that has a plan"):
        find_plan("./none.toml", config)
    with pytest.raises(UsageError, match=r"'\./more' is no plan: a file that has one ends in \.toml"):
        find_plan("./more", config)


def test_a_file_without_a_plan_says_how_one_looks(tmp_path: Path) -> None:
    (tmp_path / "hoist.toml").write_text('[storage.eu]\nurl = "./eu"\n')
    with pytest.raises(UsageError, match=r"add \[sync.NAME\]"):
        find_plan("", load_config(environ(tmp_path)))
    (tmp_path / "hoist.toml").write_text("[sync]\nfrom = 'eu'\n")
    with pytest.raises(InvalidConfig, match=r"\[sync.from\] must be a table"):
        load_config(environ(tmp_path))


def test_what_the_document_shows_is_what_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/sync.md").read_text()
    (tmp_path / "hoist.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])
    found, reached = find_plan("production", load_config(environ(tmp_path)))
    assert (found.source, found.targets, found.keep, found.max_bandwidth) == ("eu", ("us", "nas"), 3, 200 << 20)
    assert reached.storage("eu").url == "s3://models-eu"
    commands = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert len(commands) == 5
    for line in commands:
        parsed = build_parser().parse_args(line.partition("#")[0].split()[1:])
        assert parsed.verb == "sync"
