"""What a rollback goes to: a stack of what stood there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hoist.rollout.back import Looked, is_back
from hoist.rollout.stack import stack_of, stood_before, went_back_from
from hoist.storage.base import Tag
from hoist.storage.moves import TagMove


def digest(label: str) -> str:
    return "sha256:" + label.encode().hex().zfill(64)


def tag(label: str) -> Tag:
    return Tag("m", "stable", label, digest(label))


def moves(*labels: str) -> list[TagMove]:
    """A history in which the tag named these, one after the other."""
    stood = ["", *labels]
    return [
        TagMove("m", "stable", label, digest(label), before, digest(before) if before else "", 0.0, "a@b")
        for before, label in zip(stood, labels, strict=False)
    ]


def goes_to(*labels: str) -> str | None:
    found = stood_before(moves(*labels), tag(labels[-1]))
    return found.label if found else None


def test_a_rollback_goes_one_back_and_never_to_what_was_gone_back_from() -> None:
    assert goes_to("v4", "v5", "v6") == "v5"
    assert goes_to("v4", "v5", "v6", "v5") == "v4"
    assert goes_to("v4", "v5", "v6", "v5", "v4") is None
    assert goes_to("v4", "v5", "v6", "v5", "v7") == "v5"
    assert goes_to("v4") is None
    assert goes_to("v4", "v5", "v4", "v5") == "v4"


def test_a_history_with_a_gap() -> None:
    known = [*moves("v1", "v2"), moves("v4", "v5")[1]]
    # v4 was set by somebody who noted nothing.
    assert [label for label, _ in stack_of(known, tag("v5"))] == ["v1", "v2", "v4", "v5"]
    assert [label for label, _ in stack_of(known, tag("v9"))] == ["v1", "v2", "v4", "v5", "v9"]
    assert stood_before([], tag("v1")) is None
    # A label that was removed and published anew is another version.
    again = Tag("m", "stable", "v1", digest("other"))
    assert stood_before(moves("v1"), again) == tag("v1")


def test_who_went_back_from_what() -> None:
    for labels, left in (
        (("v4", "v5"), None),
        (("v4", "v5", "v4"), "v5"),
        (("v4", "v5", "v6", "v4"), "v6"),
        (("v4", "v5", "v4", "v6"), None),
        (("v4",), None),
    ):
        found = went_back_from(moves(*labels), tag(labels[-1]))
        assert (found[0] if found else None) == left
    assert went_back_from(moves("v4", "v5", "v4"), tag("v9")) is None


@given(st.lists(st.sampled_from(["v1", "v2", "v3", "v4"]), min_size=1, max_size=30))
def test_going_back_ends_and_returns_to_nothing(labels: list[str]) -> None:
    steps = [label for number, label in enumerate(labels) if number == 0 or labels[number - 1] != label]
    seen = [steps[-1]]
    while (found := goes_to(*steps)) is not None:
        assert found not in seen
        seen.append(found)
        steps.append(found)
    assert len(seen) <= 4


def test_a_region_that_went_back_stays_while_another_has_not() -> None:
    back = Looked(tag("v5"), moves("v4", "v5", "v6", "v5"))
    bad = Looked(tag("v6"), moves("v4", "v5", "v6"))
    assert is_back("a", {"a": back, "b": bad}, 2)
    assert not is_back("b", {"a": back, "b": bad}, 2)
    # One that cannot be seen may name it still.
    assert is_back("a", {"a": back, "b": None}, 2)
    assert is_back("a", {"a": back}, 2)
    assert not is_back("a", {"a": back, "b": back}, 2)
    assert not is_back("a", {"a": bad, "b": None}, 2)


def test_a_region_that_a_rollout_did_not_reach_stays() -> None:
    bad = Looked(tag("v6"), moves("v4", "v5", "v6"))
    spared = Looked(tag("v5"), moves("v4", "v5"))
    assert is_back("b", {"a": bad, "b": spared}, 2)
    assert not is_back("a", {"a": bad, "b": spared}, 2)
    # One whose way was another one keeps its own.
    strange = Looked(tag("v6"), moves("v3", "v6"))
    assert not is_back("b", {"a": strange, "b": spared}, 2)
    assert is_back("b", {"a": strange, "b": Looked(tag("v5"), moves("v5", "v6", "v5"))}, 2)
