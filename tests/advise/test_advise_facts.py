"""Facts: each that is shipped has its unit, source, date and certainty; the user's go over them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from hoist.advise.facts import CERTAINTIES, Fact, Facts, given_facts, known_facts, parse_facts, read_facts, shipped
from hoist.advise.learn import facts_toml
from hoist.advise.units import dimension_of
from hoist.errors import InvalidConfig, NotFound

WHOLE = {"id": "a.b", "value": 1, "unit": "MB/s", "source": "a page", "read": "2026-11", "certainty": "published"}


@pytest.mark.parametrize("fact", tuple(shipped()), ids=lambda fact: fact.id)
def test_each_shipped_fact_is_whole(fact: Fact) -> None:
    assert len(fact.source) > 5
    assert dimension_of(fact.unit) is not None
    assert date(2026, 1, 1) <= date(int(fact.read[:4]), int(fact.read[5:7]), 1)
    assert fact.certainty in CERTAINTIES
    assert fact.certainty != "given"
    # Who doubts a figure that was not published is told how it came about.
    assert fact.certainty != "measured" or "records/" in fact.source or "docs/" in fact.source


def test_the_figures_of_the_reference_are_there() -> None:
    facts = shipped()
    assert facts.get("function-compute.nas.performance.rate", "rate") == 600e6
    assert facts.get("function-compute.oss.rate.cn-hangzhou", "rate") == 12.5e9
    assert facts.get("function-compute.oss.rate.abroad", "rate") == 0.625e9
    assert facts.get("function-compute.accl.growth", "growth") * 1e12 == pytest.approx(300e6)
    assert facts.get("function-compute.link", "rate") == 625e6
    assert facts.get("function-compute.deadline.port-check", "time") == 120
    assert facts.fact("function-compute.oss.price").certainty == "unverified"
    nas, capacity = (facts.fact(f"function-compute.nas.{kind}.price").value for kind in ("performance", "capacity"))
    assert nas == pytest.approx(5.47 * capacity, rel=0.01)


@pytest.mark.parametrize("missing", ["source", "unit", "read", "certainty", "id", "value"])
def test_a_fact_that_lacks_something_is_refused(missing: str) -> None:
    table = {name: value for name, value in WHOLE.items() if name != missing}
    with pytest.raises(
        InvalidConfig, match=f"has no {missing}: each fact has id, value, unit, source, read, certainty"
    ):
        parse_facts({"fact": [table]}, "mine.toml")
    with pytest.raises(InvalidConfig, match=f"has no {missing}"):
        parse_facts({"fact": [WHOLE | {missing: ""}]}, "mine.toml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sauce": "a page"}, "unknown field 'sauce'; did you mean source?"),
        ({"value": "600MB/s"}, "value is a number, 0 or more"),
        ({"value": -1}, "value is a number, 0 or more"),
        ({"value": float("nan")}, "value is a number, 0 or more"),
        ({"value": float("inf")}, "value is a number, 0 or more"),
        ({"value": 0}, "value is a number above 0"),
        ({"value": 0, "unit": "CNY/USD"}, "value is a number above 0"),
        ({"unit": "furlongs"}, "unit 'furlongs' is not known"),
        ({"read": "lately"}, "read is a date, as 2026-11"),
        ({"certainty": "sure"}, "certainty 'sure' is none of published"),
        ({"id": "Nas Rate"}, "id is of small letters"),
    ],
)
def test_a_fact_that_says_something_odd_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_facts({"fact": [WHOLE | change]}, "mine.toml")
    assert said in str(caught.value)


def test_other_files_are_no_facts(tmp_path: Path) -> None:
    for text in ("[fact]\nid = 1", "fact = 3", "x = 1", "not toml"):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        with pytest.raises(InvalidConfig, match=r"mine\.toml"):
            read_facts(path)


def test_the_users_go_over_the_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        facts_toml([Fact("gpu.cu-price", 1.0, "USD/CU", "my bill", "2026-11-02", "given", 'with "quotes"')])
    )
    (mine,) = read_facts(path)
    assert (mine.source, mine.note) == ("my bill", 'with "quotes"')
    facts = known_facts([path], {"gpu.cu-price": "2USD/CU", "function-compute.link": "1Gbit/s"}, "2026-11-03")
    assert facts.fact("gpu.cu-price").value == 2
    assert facts.get("function-compute.link", "rate") == 125e6
    assert facts.fact("function-compute.link").certainty == "given"
    assert len(list(facts)) == len(list(shipped()))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"function-compute.link": "5"}, "write it as 5 Gbit/s, which it is now"),
        ({"function-compute.link": "5s"}, "write it as 5 Gbit/s"),
        ({"function-compute.link": "0Gbit/s"}, "write it as 5 Gbit/s"),
        ({"function-compute.link": "fast"}, "is no quantity"),
    ],
)
def test_what_is_given_has_the_unit_of_its_fact(table: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        given_facts(shipped(), table, "hoist.toml", "2026-11-03")
    assert said in str(caught.value)


def test_an_unknown_fact_has_near_ones() -> None:
    with pytest.raises(NotFound, match=r"did you mean function-compute\.link"):
        given_facts(shipped(), {"function-compute.lnk": "5Gbit/s"}, "hoist.toml", "2026-11-03")


def test_facts_grow_old() -> None:
    fact = shipped().fact("function-compute.link")
    assert not fact.is_old(date(2027, 11, 30))
    assert fact.is_old(date(2027, 12, 1))


def test_a_fact_has_the_dimension_that_is_asked_for() -> None:
    facts = Facts({"a.b": Fact("a.b", 5, "s", "a page", "2026-11", "published")})
    with pytest.raises(InvalidConfig, match="5 s is no rate"):
        facts.get("a.b", "rate")
