"""What the page says, in English and Chinese: texts out of one file, and how they become HTML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

from hoist.formatting import printable

LANGUAGES: Final[Mapping[str, str]] = {"en": "en", "zh": "zh-CN"}
"""By Hoist's word, what HTML calls it."""


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text in both languages: nothing in it is markup."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        """It in one language."""
        return self.zh if language == "zh" else self.en


Said = Text | str | int
"""What may be filled in; what is no Text is the same in both languages."""


@cache
def strings() -> dict[str, Text]:
    """All of them by `section.name`."""
    document = tomllib.loads(files(__package__).joinpath("strings.toml").read_text("utf-8"))
    return {f"{part}.{name}": Text(**each) for part, table in document.items() for name, each in table.items()}


def said(key: str, **values: Said) -> Text:
    """A text of strings.toml with its values filled in. Raises KeyError for one that is not there."""
    text = strings()[key]
    return Text(*(text.of(language).format_map(_filled(values, language)) for language in LANGUAGES))


def known(section: str, name: str) -> Text:
    """A text that has a translation if `name` is known, and else stands as it is."""
    return strings().get(f"{section}.{name}", Text(name, name))


def listed(items: Sequence[Said], *, apart: bool = False) -> Text:
    """Items after one another, as each language separates them; `apart`: items that have commas themselves."""
    english, chinese = ("; ", "\N{FULLWIDTH SEMICOLON}") if apart else (", ", "\N{IDEOGRAPHIC COMMA}")
    return Text(english.join(_in(each, "en") for each in items), chinese.join(_in(each, "zh") for each in items))


def _filled(values: Mapping[str, Said], language: str) -> dict[str, str]:
    return {name: _in(value, language) for name, value in values.items()}


def _in(value: Said, language: str) -> str:
    return value.of(language) if isinstance(value, Text) else f"{value:,}" if isinstance(value, int) else value


def safe(text: str) -> str:
    """Text in the page: whoever names a model writes no markup, and the page is always UTF-8."""
    return escape(printable(text).encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True, slots=True)
class Writer:
    """Texts as HTML in the languages of one page; the page shows one of them at a time."""

    languages: tuple[str, ...]

    def html(self, text: Said) -> str:
        """A text, escaped; in each language where it differs."""
        shown = [_in(text, language) for language in self.languages]
        if len(set(shown)) == 1:
            return safe(shown[0])
        return "".join(
            f'<span lang="{LANGUAGES[language]}">{safe(each)}</span>'
            for language, each in zip(self.languages, shown, strict=True)
        )

    def say(self, key: str, **values: Said) -> str:
        """A text of strings.toml as HTML."""
        return self.html(said(key, **values))
