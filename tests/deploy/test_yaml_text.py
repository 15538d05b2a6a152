"""YAML that is written reads as what was meant, by every reader; files that are changed keep their other lines."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hoist.deploy.yaml_text import Document, dump, load, render, transplant
from hoist.errors import UsageError

_TEXTS = st.one_of(
    st.text(
        st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\x85\u2028\u2029\ufeff"), max_size=20
    ),
    st.sampled_from(
        ["yes", "No", "on", "y", "~", "null", "012", "1e5", "12:30:00", "0x1f", "1_000", "2026-01-01", "--x", "a: b"]
    ),
    st.sampled_from(
        ["${env('X')}", "# no", "- no", "'", '"', "%", "@x", "{{x}}", "=", "<<", ".5", "+1", "true", "*a", "&a"]
    ),
)
_LEAVES = st.one_of(_TEXTS, st.integers(-(2**53), 2**53), st.booleans())
_DATA = st.dictionaries(
    _TEXTS,
    st.recursive(
        _LEAVES, lambda inside: st.one_of(st.lists(inside, max_size=3), st.dictionaries(_TEXTS, inside, max_size=3))
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30, deadline=None)
@given(_DATA)
def test_readers_of_both_versions_of_yaml_read_what_was_meant(data: dict[str, Any]) -> None:
    text = render([Document(data, "A title")])
    assert yaml.safe_load(text) == data  # YAML 1.1
    assert load(text, "it")[0] == data  # YAML 1.2
    assert text.startswith("# A title\n")


def test_comments_stand_above_their_fields() -> None:
    data = {"a": {"b": [{"c": 1, "d": {"e": 2}}]}}
    text = render([Document(data, "", {("a", "b"): "of b", ("a", "b", 0, "d", "e"): "of e\nin two lines"})])
    assert text == ("a:\n  # of b\n  b:\n    - c: 1\n      d:\n        # of e\n        # in two lines\n        e: 2\n")


ODD = """\
top:   1      # one

list:
-   name:  'x'
    deep: {a: 1,   b: [1, 2]}
-   name: "y"


text: |
    kept
      as it is
tail: &anchor {z: 0x10}
again: *anchor
"""


def test_only_changed_lines_change() -> None:
    data, made = load(ODD, "odd")
    plain = dump(data, made)
    data["list"][1]["name"] = "z"
    data["list"].append({"name": "new"})
    data["text2"] = "added"
    after = transplant(ODD, plain, dump(data, made))
    lines = after.splitlines()
    assert load(after, "odd")[0] == data
    assert [line for line in ODD.splitlines() if line not in lines] == ['-   name: "y"']


def test_what_is_no_yaml_is_told_with_its_place() -> None:
    with pytest.raises(UsageError, match=r"s\.yaml: not YAML: .*line 2"):
        load("a: 1\nb: [1\n", "s.yaml")
    with pytest.raises(UsageError, match="not YAML"):
        load("a: 1\na: 2\n", "s.yaml")
