"""What a plan wants done: by example, and as properties of any two storages."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from sync_making import digest, plan, state, version

from hoist.storage.base import Tag, Version
from hoist.storage.seen import Seen
from hoist.sync.difference import Difference, difference, wanted
from hoist.sync.plan import SyncPlan
from hoist.sync.state import StorageState

NAMES = ("a", "b/one", "b/two")
LABELS = ("v1", "v2", "v10")
TAGS = ("stable", "latest", "canary")


def names(versions: object) -> list[str]:
    return [str(each) for each in versions]  # type: ignore[attr-defined]


@st.composite
def states(draw: st.DrawFn) -> StorageState:
    keys = draw(st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(LABELS))))
    seen = {
        Version(*key): Seen(
            draw(st.sampled_from((0.0, 1.0, 2.0))),
            *draw(st.sampled_from(KNOWN)),
            signers=draw(st.sampled_from(SIGNERS)),
        )
        for key in sorted(keys)
    }
    tags = {}
    for name, tag in sorted(draw(st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(TAGS)), max_size=5))):
        label = draw(st.sampled_from(("", *LABELS)))
        known = seen.get(Version(name, label))
        tags[name, tag] = Tag(name, tag, label, (known and known.digest) or draw(st.sampled_from(CONTENTS)))
    return StorageState("any", seen, tags)


SIGNERS = (None, frozenset[str](), frozenset({"ann"}), frozenset({"ann", "bob"}))
CONTENTS = (digest("one"), digest("two"))
# By digest only, by MD5 only, by both.
KNOWN = [
    *((each, "") for each in CONTENTS),
    *(("", each[-32:]) for each in CONTENTS),
    (CONTENTS[0], CONTENTS[0][-32:]),
]


@st.composite
def plans(draw: st.DrawFn) -> SyncPlan:
    models = ("*", "b/*", "a", "a:stable", "b/*:v1", "*:v*")
    return plan(
        models=draw(st.lists(st.sampled_from(models), min_size=1, unique=True)),
        tags=draw(st.sampled_from((["*"], ["stable"], ["stable", "l*"], []))),
        keep=draw(st.integers(0, 2)),
        prune=draw(st.booleans()),
    )


def done(found: Difference, source: StorageState, target: StorageState) -> StorageState:
    """The target after all that is to be done."""
    versions = dict(target.versions) | {each: source.versions[each] for each in found.bring}
    for each in found.sign:
        seen, ours = versions[each], source.versions[each]
        versions[each] = replace(seen, signers=(seen.signers or frozenset()) | (ours.signers or frozenset()))
    tags = dict(target.tags) | {(each.tag.name, each.tag.tag): each.tag for each in found.retag}
    for tag in found.untag:
        del tags[tag.name, tag.tag]
    for each in found.remove:
        del versions[each]
    return replace(target, versions=versions, tags=tags)


@given(plans(), states())
def test_a_copy_of_the_source_is_in_step_but_for_what_the_source_lacks_itself(
    p: SyncPlan, source: StorageState
) -> None:
    found = difference(replace(p, prune=False), source, source)
    assert not found.changes
    assert not found.conflicts


@given(plans(), states(), states(), st.floats(-1e6, 1e6))
def test_of_any_two_storages(p: SyncPlan, source: StorageState, target: StorageState, off: float) -> None:
    found = difference(p, source, target)
    then = done(found, source, target)
    needs_no_second_time(p, source, found, then)
    loses_nothing(p, source, target, found, then)
    leaves_no_tag_without_its_version(p, found, then)
    # The clock of a target has no say.
    lies = {each: replace(seen, published=off - seen.published) for each, seen in target.versions.items()}
    assert difference(p, source, replace(target, versions=lies)) == found


def needs_no_second_time(p: SyncPlan, source: StorageState, first: Difference, then: StorageState) -> None:
    second = difference(p, source, then)
    assert not second.changes
    assert (second.conflicts, second.stuck) == (first.conflicts, first.stuck)
    assert set(second.doubts) <= set(first.doubts)


def loses_nothing(
    p: SyncPlan, source: StorageState, target: StorageState, found: Difference, then: StorageState
) -> None:
    # Nothing is written over.
    assert not set(found.bring) & target.versions.keys()
    for each in found.remove:
        # The source has the same, and no tag of the target names it.
        assert source.versions[each].same(target.versions[each])
        assert all((tag.name, tag.label) != (each.name, each.label) for tag in then.tags.values())
    assert p.prune or not (found.remove or found.untag)
    assert set(found.extra) <= target.versions.keys() - source.versions.keys()
    assert not set(found.extra) & set(found.remove)


def leaves_no_tag_without_its_version(p: SyncPlan, found: Difference, then: StorageState) -> None:
    for each in found.retag:
        there = Version(each.tag.name, each.tag.label)
        assert there in then.versions
        assert there not in (*found.conflicts, *found.doubts, *found.remove)
        assert p.keeps_tag(each.tag.name, each.tag.tag)


def test_of_each_model_the_newest_by_the_clock_of_the_source_come_and_what_is_tagged() -> None:
    source = state(
        {"m:old": ("1", 1), "m:v2": ("2", 2), "m:v3": ("3", 3), "m:v4": ("4", 4), "n:v1": ("5", 0)}, {"m:stable": "old"}
    )
    assert names(sorted(wanted(plan(keep=2), source))) == ["m:old", "m:v3", "m:v4", "n:v1"]
    assert names(sorted(wanted(plan(keep=2, tags=["latest"]), source))) == ["m:v3", "m:v4", "n:v1"]
    assert names(sorted(wanted(plan(models=["m:stable", "n:v1"], keep=1), source))) == ["m:old", "n:v1"]
    # Named singly it comes along, however old.
    assert names(sorted(wanted(plan(models=["m", "m:v2"], keep=1, tags=[]), source))) == ["m:v2", "m:v4"]


def test_where_no_times_are_known_the_labels_say_which_is_newer() -> None:
    source = state({"m:v9": "9", "m:v10": "10", "m:v8": "8"})
    assert names(wanted(plan(keep=1), source)) == ["m:v10"]


def test_versions_come_in_the_order_in_which_they_were_published() -> None:
    source = state({"m:a": ("1", 3), "m:b": ("2", 1), "k:c": ("3", 2)})
    assert names(difference(plan(), source, state({})).bring) == ["m:b", "k:c", "m:a"]


def test_signatures_that_were_made_later_come_after() -> None:
    v1 = version("m:v1")
    source = StorageState("source", {v1: Seen(0.0, "d", signers=frozenset({"ann"}))})
    for signers, lacks in (
        (frozenset[str](), True),
        (frozenset({"ann"}), False),
        (frozenset({"bob"}), True),
        (None, False),
    ):
        target = replace(source, versions={v1: Seen(0.0, "d", signers=signers)})
        found = difference(plan(), source, target)
        assert (names(found.sign), found.in_step) == (["m:v1"] if lacks else [], not lacks)


def test_other_content_under_a_label_is_a_conflict_and_its_tags_stay() -> None:
    source = state({"m:v1": "1", "m:v2": "2"}, {"m:stable": "v2", "m:old": "v1"})
    target = state({"m:v2": "other"}, {"m:stable": "v2"})
    found = difference(plan(), source, target)
    assert names(found.conflicts) == ["m:v2"]
    assert [tag.tag for tag in found.stuck] == ["stable"]
    assert [each.tag.tag for each in found.retag] == ["old"]
    assert names(found.bring) == ["m:v1"]


def test_pruning_leaves_what_has_a_tag_there_or_is_nowhere_else() -> None:
    source = state({f"m:v{n}": (str(n), n) for n in range(1, 6)}, {"m:stable": "v5", "m:latest": "v5"})
    target = state(
        {f"m:v{n}": str(n) for n in range(1, 5)} | {"m:own": "own"},
        {"m:canary": "v2", "m:latest": "v3", "m:stable": "v4"},
    )
    found = difference(plan(keep=1, prune=True, tags=["stable", "latest"]), source, target)
    assert names(found.bring) == ["m:v5"]
    assert names(found.remove) == ["m:v1", "m:v3", "m:v4"]
    assert names(found.extra) == ["m:own"]
    assert not difference(plan(keep=1), source, target).remove


def test_a_tag_that_the_source_no_longer_has_goes_only_by_pruning() -> None:
    source = state({"m:v1": "1"})
    target = state({"m:v1": "1", "n:v1": "1"}, {"m:stable": "v1", "n:stable": "v1"})
    kept = difference(plan(), source, target)
    assert not kept.untag
    assert [tag.name for tag in kept.extra_tags] == ["m", "n"]
    # Nothing of `n` is in the source at all: it is the wrong place, or not mounted.
    assert [tag.name for tag in difference(plan(prune=True), source, target).untag] == ["m"]


def test_a_tag_that_names_nothing_in_the_source_is_told_and_not_moved() -> None:
    found = difference(plan(), state({"m:v1": "1"}, {"m:stable": "v9"}), state({"m:v1": "1"}, {"m:stable": "v1"}))
    assert [tag.label for tag in found.stuck] == ["v9"]
    assert not found.changes
    assert not found.in_step


def test_what_cannot_be_compared_is_in_doubt() -> None:
    one, two = state({"m:v1": "1"}), state({"m:v1": "1"})
    by_md5 = replace(two, versions={version("m:v1"): Seen(0.0, "", "0" * 32)})
    assert names(difference(plan(), one, by_md5).doubts) == ["m:v1"]
    assert not difference(plan(), one, by_md5).in_step
    assert difference(plan(), by_md5, by_md5).in_step
