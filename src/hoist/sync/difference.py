"""What a plan wants of a target that the target is not. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from hoist.storage.base import Tag, Version
from hoist.sync.plan import SyncPlan
from hoist.sync.state import StorageState


@dataclass(frozen=True, slots=True)
class Retag:
    """A tag to be moved in a target: to what the source says, from what stood there (None: it is new)."""

    tag: Tag
    before: Tag | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What is to be done in one target, in this order, and what stands in the way.

    `conflicts`: versions that the target has with other content, which are never written over. `doubts`: versions of which
    only the manifests can tell whether both are one; `compare` settles them. `sign`: versions that are there without
    signatures that the source has of them. `stuck`: tags of the source that name nothing
    there, or what is in conflict; they stay as they are. `extra` and `extra_tags`: what only the target has, of the plan's
    models.
    """

    sign: tuple[Version, ...] = ()
    bring: tuple[Version, ...] = ()
    retag: tuple[Retag, ...] = ()
    untag: tuple[Tag, ...] = ()
    remove: tuple[Version, ...] = ()
    conflicts: tuple[Version, ...] = ()
    doubts: tuple[Version, ...] = ()
    stuck: tuple[Tag, ...] = ()
    extra: tuple[Version, ...] = ()
    extra_tags: tuple[Tag, ...] = ()

    @property
    def in_step(self) -> bool:
        """Whether the target is what the plan wants. What is only there does not count: nobody else may have it."""
        return not (self.changes or self.conflicts or self.doubts or self.stuck)

    @property
    def changes(self) -> int:
        """How many things a run would do."""
        return len(self.sign) + len(self.bring) + len(self.retag) + len(self.untag) + len(self.remove)


def difference(plan: SyncPlan, source: StorageState, target: StorageState) -> Difference:
    """What `plan` has to do in `target`. Both must have been seen: neither has an `error`."""
    wants = wanted(plan, source)
    sign: list[Version] = []
    bring: list[Version] = []
    conflicts: list[Version] = []
    doubts: list[Version] = []
    for version in sorted(wants, key=lambda each: age(source, each)):
        there = target.versions.get(version)
        if there is None:
            bring.append(version)
            continue
        same = source.versions[version].same(there)
        if same is None:
            doubts.append(version)
        elif not same:
            conflicts.append(version)
        elif there.lacks_signatures(source.versions[version]):
            sign.append(version)
    retag, stuck = _tags(plan, source, target, {*conflicts, *doubts})
    alone = [tag for key, tag in sorted(target.tags.items()) if key not in source.tags and plan.keeps_tag(*key)]
    here = {version.name for version in source.versions}
    # A source that has nothing of a model any more is more likely to be the wrong place than to mean it.
    untag = [tag for tag in alone if plan.prune and tag.name in here]
    remove: list[Version] = []
    if plan.prune:
        remove, unsure = _older(plan, source, target, wants, _tagged_then(target, retag, untag))
        doubts += unsure
    return Difference(
        sign=tuple(sign),
        bring=tuple(bring),
        retag=tuple(retag),
        untag=tuple(untag),
        remove=tuple(remove),
        conflicts=tuple(conflicts),
        doubts=tuple(doubts),
        stuck=tuple(stuck),
        extra=tuple(
            version
            for version in sorted(target.versions)
            if version not in source.versions and plan.names_model(version.name)
        ),
        extra_tags=tuple(tag for tag in alone if tag not in untag),
    )


def wanted(plan: SyncPlan, source: StorageState) -> frozenset[Version]:
    """The versions that the plan wants in every target: of each model the newest that it names, and whatever it names
    singly or by a tag that it keeps. Only the source's clock has a say in what is newest."""
    found: set[Version] = set()
    newest: defaultdict[str, list[Version]] = defaultdict(list)
    tags: defaultdict[str, list[Tag]] = defaultdict(list)
    for tag in source.tags.values():
        if Version(tag.name, tag.label) in source.versions:
            tags[tag.name].append(tag)
    patterns = {name: [each for each in plan.models if each.names(name)] for name in {v.name for v in source.versions}}
    for version in source.versions:
        for pattern in patterns[version.name]:
            if pattern.labels(version.label):
                if pattern.exact:
                    found.add(version)
                else:
                    newest[version.name].append(version)
    for name, listed in tags.items():
        for tag in listed:
            named = any(each.label is not None and each.labels(tag.tag) for each in patterns[name])
            if named or plan.keeps_tag(name, tag.tag):
                found.add(Version(name, tag.label))
    for versions in newest.values():
        ordered = sorted(set(versions), key=lambda each: age(source, each), reverse=True)
        found.update(ordered[: plan.keep or None])
    return frozenset(found)


def _tags(
    plan: SyncPlan, source: StorageState, target: StorageState, held_up: set[Version]
) -> tuple[list[Retag], list[Tag]]:
    """Tags to move, and those that cannot be."""
    retag: list[Retag] = []
    stuck: list[Tag] = []
    for key, tag in sorted(source.tags.items()):
        if not plan.keeps_tag(*key):
            continue
        version = Version(tag.name, tag.label)
        seen = source.versions.get(version)
        if seen is None or (seen.digest and seen.digest != tag.digest) or version in held_up:
            stuck.append(tag)
        elif target.tags.get(key) != tag:
            retag.append(Retag(tag, target.tags.get(key)))
    return retag, stuck


def _tagged_then(target: StorageState, retag: list[Retag], untag: list[Tag]) -> set[Version]:
    """The versions that tags of the target will name once its tags are in step."""
    tags = dict(target.tags)
    tags |= {(each.tag.name, each.tag.tag): each.tag for each in retag}
    for tag in untag:
        tags.pop((tag.name, tag.tag), None)
    return {Version(tag.name, tag.label) for tag in tags.values()}


def _older(
    plan: SyncPlan, source: StorageState, target: StorageState, wants: frozenset[Version], tagged: set[Version]
) -> tuple[list[Version], list[Version]]:
    """What to remove: only what the source has too, so that nothing is lost; and what may be that."""
    remove: list[Version] = []
    unsure: list[Version] = []
    for version in sorted(target.versions):
        ours = source.versions.get(version)
        if ours is None or version in wants or version in tagged or not plan.names_model(version.name):
            continue
        same = ours.same(target.versions[version])
        if same is None:
            unsure.append(version)
        elif same:
            remove.append(version)
    return remove, unsure


def age(state: StorageState, version: Version) -> tuple[float, list[str | int], str]:
    """A version's place among those of its storage: by when it was published, then by label with numbers as numbers, v10
    behind v9."""
    parts = re.split(r"([0-9]+)", version.label)
    label = [int(part) if part.isdecimal() else part for part in parts]
    return state.versions[version].published, label, version.name
