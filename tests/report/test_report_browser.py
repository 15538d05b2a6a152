"""The page in a real browser: it opens alone, in both languages and colours, wide and narrow, and gives its records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_making import experiment, herd, herds, switch, write

from hoist.config import Config
from hoist.report.verb import write_report
from hoist.testing.browser import Browser

EVIL = "<script>window.evil=1</script>"
SHOWN = "[...document.querySelectorAll('main span[lang]')].filter(e => e.checkVisibility()).map(e => e.lang)"
PAGE_COLOUR = "getComputedStyle(document.body).backgroundColor"


@pytest.mark.parametrize(
    ("fragment", "dark", "width", "language"),
    [
        ("en", False, 1280, "en"),
        ("zh", True, 1280, "zh-CN"),
        ("zh,light", True, 390, "zh-CN"),
        ("en,dark", False, 390, "en"),
    ],
)
def test_it_opens_alone(
    full_page: Path, browser: Browser, fragment: str, dark: bool, width: int, language: str
) -> None:
    browser.open(f"{full_page.as_uri()}#{fragment}", width=width, dark=dark)
    assert browser.problems() == [] and browser.requests() == []
    assert set(browser.run(SHOWN)) == {language}
    assert browser.run("document.documentElement.lang") == language
    # Nothing is wider than the screen, and each figure is drawn once.
    assert browser.run("document.documentElement.scrollWidth") == width
    figures = browser.run("[...document.querySelectorAll('svg')].map(e => e.checkVisibility())")
    assert figures.count(True) == figures.count(False) == 4
    wanted = "dark" if "dark" in fragment or (dark and "light" not in fragment) else "light"
    assert browser.run(PAGE_COLOUR) == {"dark": "rgb(16, 20, 26)", "light": "rgb(246, 247, 249)"}[wanted]
    assert browser.run("getComputedStyle(document.documentElement).colorScheme") == wanted


def test_figures_take_the_page_s_colours(full_page: Path, browser: Browser) -> None:
    script = "[...document.querySelectorAll('svg path')].map(e => getComputedStyle(e).fill).filter(c => c != 'none')"
    browser.open(f"{full_page.as_uri()}#light")
    light = set(browser.run(script))
    browser.open(f"{full_page.as_uri()}#dark")
    dark = set(browser.run(script))
    assert "rgb(194, 84, 10)" in light and "rgb(240, 138, 69)" in dark
    # Black is what a path has whose colour nobody set.
    assert light & dark <= {"rgb(0, 0, 0)"}


def test_buttons_switch_language_and_colours(full_page: Path, browser: Browser) -> None:
    browser.open(f"{full_page.as_uri()}#en,light")
    browser.run("document.getElementById('language').click()")
    assert set(browser.run(SHOWN)) == {"zh-CN"} and "模型" in browser.run("document.title")
    before = browser.run(PAGE_COLOUR)
    browser.run("document.getElementById('theme').click()")
    assert browser.run(PAGE_COLOUR) != before
    browser.run("document.getElementById('language').click()")
    assert set(browser.run(SHOWN)) == {"en"}
    assert browser.problems() == []


@pytest.mark.parametrize("button", ["download", "download-2"])
def test_the_records_can_be_taken_home(full_page: Path, browser: Browser, button: str) -> None:
    browser.open(full_page.as_uri())
    browser.run(f"document.getElementById('{button}').click()")
    wanted = [full_page.with_name(f"{name}.jsonl").read_text() for name in ("switch", "herd")]
    assert browser.downloaded().read_text() == "".join(wanted)
    assert browser.problems() == []


def evil_records() -> list[Any]:
    records = [
        switch(EVIL, f"{which}{EVIL}\x1b[31m.ckpt", loader, which, 0, 2.0, 1 << 30, access=EVIL, kind=EVIL, model=EVIL)
        for loader in ("hoist", "plain", EVIL)
        for which in ("first", "second")
    ]
    name = "]]></text></svg><img src=x onerror=window.evil=1>$x^$"
    records += [switch(name, name, "hoist", "first", 0, 1.0, 1 << 30)]
    records += [herd(EVIL, count, [2.0] * count, how=EVIL, deadlines={EVIL: 1.0}) for count in (1, 4)]
    records[0] |= {"skipped": EVIL}
    for record in records:
        record["machine"] = {"cpu": EVIL, "kernel": "</style>" + EVIL, "packages": {EVIL: EVIL}, "memory_bytes": 1}
    return records


def test_names_out_of_records_stay_text(browser: Browser, tmp_path: Path) -> None:
    source = write(tmp_path / "<img src=x onerror=window.evil=1>.jsonl", evil_records())
    made = write_report([source], tmp_path / "report.html", config=Config())
    browser.open(made.path.as_uri())
    assert browser.run("window.evil === undefined && document.images.length === 0")
    assert browser.run("document.scripts.length") == 2
    assert EVIL in browser.run("document.body.innerText")
    assert browser.problems() == []
    browser.run("document.getElementById('download').click()")
    found, wanted = (map(json.loads, path.read_text().splitlines()) for path in (browser.downloaded(), source))
    assert list(found) == list(wanted)


def test_one_language_has_no_switch(browser: Browser, tmp_path: Path) -> None:
    source = write(tmp_path / "few.jsonl", [*experiment(1, 2, ("nas",)), *herds()])
    made = write_report([source], tmp_path / "report.html", language="zh", config=Config())
    browser.open(made.path.as_uri())
    assert browser.run("document.documentElement.lang") == "zh-CN"
    assert browser.run("document.getElementById('language')") is None
    assert browser.run("document.querySelectorAll('[lang=en]').length") == 0
    assert browser.problems() == []
