"""The page: whole, of valid markup, without a way to the network, and with nothing of a trace taken for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_making import FAILED, START, SWITCH, TRACES

from hoist.function.trace import Trace
from hoist.function.waterfall_html import comparison_page, waterfall_page

_VOID = ("meta",)


class Page(HTMLParser):
    """Checks that every element is closed in its turn; keeps elements and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data

    def bars(self) -> list[tuple[float, float]]:
        """Left and width of every bar, in per cent."""
        styles = [attrs.get("style") or "" for tag, attrs in self.elements if tag == "i"]
        found = [re.fullmatch(r"left:([\d.]+)%;width:([\d.]+)%", style) for style in styles]
        return [(float(each[1]), float(each[2])) for each in found if each]


def test_a_page_shows_phases_bytes_bandwidth_and_what_was_reused() -> None:
    page = Page(waterfall_page([SWITCH], "a switch"))
    for said in ("a switch", "switch counterfeit", "1.000 s", "fetch", "512.0 MiB", "1.00 GiB/s", "nas", "cuda:0"):
        assert said in page.text, said
    assert "reused 1.50 GiB, 75%" in page.text
    assert "copied 512.0 MiB, 25%" in page.text
    assert page.bars() == [(0, 12.5), (12.5, 12.5), (25, 50), (25, 25), (62.5, 37.5)]


def test_of_many_traces_the_last_comes_first_and_is_open() -> None:
    page = Page(waterfall_page([START, FAILED, SWITCH]))
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert links == ["#t3", "#t2", "#t1"]
    assert [attrs["id"] for _, attrs in page.elements if "id" in attrs] == ["t3", "t2", "t1"]
    assert ["open" in attrs for tag, attrs in page.elements if tag == "details"] == [True, False, False]


def test_nothing_of_a_trace_is_taken_for_markup() -> None:
    text = waterfall_page([FAILED, START], "<i>")
    page = Page(text)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "b", "img"})
    assert r"<b>evil</b>\x1b[31m" in page.text
    assert "half </td> of it" in page.text
    assert "<script>alert(1)</script>" in page.text
    text.encode()


@pytest.mark.parametrize("page", [waterfall_page([START, SWITCH]), comparison_page(START, SWITCH, ("a", "b"))])
def test_a_page_needs_nothing_from_anywhere(page: str) -> None:
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page
    for tag, attrs in Page(page).elements:
        assert tag not in ("script", "link", "img", "iframe")
        assert "src" not in attrs
        assert str(attrs.get("href", "#")).startswith("#")
    assert "url(" not in page
    assert "@import" not in page


def test_two_traces_stand_under_one_scale() -> None:
    page = Page(comparison_page(START, SWITCH, ("cold.json", "warm.json")))
    for said in ("before: cold.json", "after: warm.json", "0.12 x", "512.0 MiB"):
        assert said in page.text, said
    # The first fetch takes half of eight seconds, the second half of one.
    assert (21.875, 50) in page.bars()
    assert (3.125, 6.25) in page.bars()


def test_no_trace_is_a_page_too() -> None:
    assert "No trace yet." in Page(waterfall_page([])).text


@settings(max_examples=50, deadline=None)
@given(st.lists(TRACES, min_size=1, max_size=3))
def test_any_traces_make_a_page(traces: list[Trace]) -> None:
    for text in (waterfall_page(traces), comparison_page(traces[0], traces[-1], ("a", "b"))):
        page = Page(text)
        assert all(left + width <= 100.01 for left, width in page.bars())
        text.encode()
