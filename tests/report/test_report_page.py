"""The page as a file: small, whole, and with all that it promises."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_making import experiment, herds, switch, write

from hoist.config import Config
from hoist.errors import UsageError
from hoist.report.charts import shortened
from hoist.report.drawing import COLOUR, colours_of
from hoist.report.verb import write_report

MOST_BYTES = 2_000_000
VOID = {"meta", "link", "br", "img", "input"}


class Tree(HTMLParser):
    """What is opened and closed, and the ids and references on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []  # type: ignore[list-item]
        text = " ".join(value or "" for name, value in attrs if name != "content")
        self.references += re.findall(r"url\(#([^)]*)\)", text)
        self.addresses += [values[name] or "" for name in ("href", "src", "action", "data") if name in values]
        href = values.get("href") or ""
        self.references += [href[1:]] if href.startswith("#") else []
        self.references += (values.get("aria-labelledby") or "").split()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_small_and_whole(full_page: Path) -> None:
    text = full_page.read_text()
    assert len(text.encode()) < MOST_BYTES
    tree = Tree()
    tree.feed(text)
    assert tree.open == []
    assert len(tree.ids) == len(set(tree.ids))
    assert tree.references and set(tree.references) <= set(tree.ids)
    assert [each for each in tree.addresses if not each.startswith(("#", "data:"))] == []
    assert not [colour for colour in COLOUR.values() if colour in text]


def test_each_bar_curve_and_section_is_there(full_page: Path) -> None:
    text = full_page.read_text()
    for id in ("switch-1-first", "switch-1-second", "herd-1", "traces", "advice", "cost", "machines", "data"):
        assert f'id="{id}"' in text
    for which in ("first", "second"):
        for width in ("wide", "narrow"):
            figure = re.search(
                rf'<div class="{width}"><svg[^>]*aria-labelledby="switch-1-{which}".*?</svg>', text, re.DOTALL
            )
            assert figure
            for kind in ("image", "nas", "oss", "accl"):
                own = re.findall(rf"fill: var\(--{kind}\)(?:; opacity: 0.38)?", figure[0])
                # Ten models, by Hoist and by the plain loader, which is paler.
                assert len(own) == 20 and sum("opacity" in each for each in own) == 10
    assert "From 2 instances at once on, accl is never slower than nas." in text
    assert "Of 64 instances from nas" in text and ">120 s<" in text and ">300 s<" in text


def test_what_was_learned_is_what_the_advice_rests_on(tmp_path: Path) -> None:
    slow = [record | {"seconds": record["seconds"] * 20} for record in experiment(1, 3, ("oss",))]
    slow_page, fast_page = (
        write_report(
            [write(tmp_path / f"{name}.jsonl", records)], tmp_path / f"{name}.html", config=Config()
        ).path.read_text()
        for name, records in (("slow", slow), ("fast", experiment(1, 3, ("oss",))))
    )
    assert "were measured, by these records" in slow_page
    ranked = [re.findall(r"--own:var\(--(\w+)\)\">(?:image|nas|oss|accl)</b>", page) for page in (slow_page, fast_page)]
    assert ranked[0][0] != "oss" and ranked[1][0] == "oss"


def test_the_user_s_own_facts_win(tmp_path: Path) -> None:
    source, fact = write(tmp_path / "a.jsonl", herds()), "function-compute.nas.performance.rate"
    made = write_report([source], tmp_path / "a.html", config=Config(facts={fact: "123MB/s"}))
    row = made.path.read_text().split(f">{fact}<", 1)[1].split("</tr>", 1)[0]
    assert "123 MB/s" in row and ">given<" in row


def test_a_scenario_is_judged(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", experiment(1, 1, ("nas",)))
    case = tmp_path / "case.toml"
    case.write_text(
        'size = "12GiB"\nmode = "provisioned"\ninstances = 100\nregions = ["cn-chengdu"]\ndeadline = "240s"\n'
    )
    text = write_report([source], tmp_path / "a.html", scenario=case, config=Config()).path.read_text()
    assert (
        "12 GiB a model" in text
        and "100 at once" in text
        and "deadline 240 s" in text
        and "同时启动 100 个实例" in text
    )


def test_records_without_a_size_say_what_is_missing(tmp_path: Path) -> None:
    record = switch("nas", "x.ckpt", "hoist", "first", 0, 1.0, 1) | {"bench": "start"}
    text = write_report([write(tmp_path / "a.jsonl", [record])], tmp_path / "a.html", config=Config()).path.read_text()
    assert "no record tells a model" in text and "<svg" not in text


def test_the_page_is_never_half_written_nor_over_the_records(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", herds())
    before = source.read_bytes()
    with pytest.raises(UsageError, match="is one of the records"):
        write_report([source], source, config=Config())
    with pytest.raises(UsageError, match="no language 'fr'"):
        write_report([source], tmp_path / "a.html", language="fr", config=Config())
    assert source.read_bytes() == before
    assert list(tmp_path.iterdir()) == [source]


def test_names_are_shortened_in_the_middle_and_storages_keep_their_colour() -> None:
    assert shortened("cetusMix_Coda2.safetensors", 17) == "cetusMix_Coda2"
    assert shortened("Anything-v4.5-pruned-mergedVae.safetensors", 17) == "Anything-v4…edVae"
    assert len(shortened("x" * 500, 25)) == 25
    found = colours_of([("nas", "nas"), ("fast", "oss"), ("slow", "oss"), ("odd", "other")])
    assert found["nas"] == "nas" and found["fast"] == "oss"
    assert len(set(found.values())) == 4
