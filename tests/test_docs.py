"""The documents hold: links lead somewhere, and every verb and option that the command line has is in docs/cli.md."""

from __future__ import annotations

import re
from argparse import SUPPRESS
from pathlib import Path

import pytest

from hoist.cli.parser import build_parser
from hoist.settings import ENGINE_FIELDS, STORAGE_FIELDS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file) if file else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_verb_and_option_is_documented() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    for name, verb in build_parser().commands.choices.items():
        assert f"`{name}" in text, name
        for action in verb._actions:
            for option in () if action.help == SUPPRESS else action.option_strings:
                assert option in ("-h", "--help") or f"`{option}" in text or f" {option}" in text, f"{name} {option}"


def test_every_field_is_documented() -> None:
    text = (ROOT / "docs/storages.md").read_text()
    for field in (*STORAGE_FIELDS, *ENGINE_FIELDS):
        assert re.search(rf"^{field} =", text, re.MULTILINE), field
