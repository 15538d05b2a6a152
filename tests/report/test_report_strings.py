"""Every sentence is there in both languages, says the same values, is used, and is properly set."""

from __future__ import annotations

import re
import string
from pathlib import Path

import hoist.report
from hoist.report.strings import LANGUAGES, Text, Writer, listed, said, strings

FOLDER = Path(hoist.report.__file__).parent
SOURCE = "".join(path.read_text() for path in FOLDER.glob("*.py"))
HAN = r"[\u3400-\u9fff]"
# Names that Chinese texts have as they are.
LATIN = re.compile(r"\{\w+\}|hoist report --scenario FILE|podman pull|hoist mount|[A-Z][\w/]*|p\d+|records|MB/s")


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_say_the_same_values() -> None:
    for key, text in strings().items():
        assert text.en and text.zh, key
        assert places(text.en) == places(text.zh), key


def test_every_text_is_used() -> None:
    sections = set(re.findall(r'known\("([\w-]+)"', SOURCE))
    for key in strings():
        section, _, name = key.partition(".")
        stems = re.findall(rf"{section}\.([\w-]*)\{{", SOURCE)
        assert (
            re.search(rf"[\"']{key}[\"']", SOURCE)
            or section in sections
            or any(name.startswith(stem) for stem in stems)
        ), key


def test_chinese_is_set_as_chinese() -> None:
    for key, text in strings().items():
        assert not re.search(rf"{HAN}[,:;()!?]|[,:;(]{HAN}", text.zh), key
        rest = LATIN.sub("", text.zh)
        assert not re.search(r"[a-z]{3,}", rest), (key, rest)
        # A blank between Han and Latin or digits, as everywhere in the page.
        assert not re.search(rf"{HAN}[A-Za-z0-9]|[A-Za-z0-9]{HAN}", re.sub(r"\{\w+\}", "/", text.zh)), key


def test_values_are_filled_in_each_language_and_escaped() -> None:
    text = said("switch.skip", storage="<b>", loader=Text("plain", "普通"), reason="a & b")
    assert text.en == "<b>, plain: a & b" and "普通" in text.zh
    shown = Writer(tuple(LANGUAGES)).html(text)
    assert "&lt;b&gt;, plain: a &amp; b" in shown and shown.count("<span lang=") == 2
    assert Writer(("en",)).html(Text("a", "b")) == "a"
    assert Writer(("en", "zh")).html("the same") == "the same"
    assert listed(["a", 2000]) == Text("a, 2,000", "a、2,000")
