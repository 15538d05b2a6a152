"""What a plan of `hoist sync` wants of its storages, what of that is not so, and bringing it about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hoist.audit.contents import unreadable
from hoist.audit.finding import Finding
from hoist.audit.storage import StorageAudit
from hoist.config import Config
from hoist.errors import HoistError
from hoist.progress import Progress
from hoist.storage.base import Tag
from hoist.sync.difference import Difference, Retag
from hoist.sync.observe import compare, observe
from hoist.sync.plan import SyncPlan
from hoist.sync.run import run_plan
from hoist.sync.state import StorageState

SYNCED = ("missing", "stale-tag")
"""The kinds of findings that bringing the plan about mends."""


def against_plan(plan: SyncPlan, source: StorageAudit, targets: Sequence[StorageAudit]) -> Iterator[Finding]:
    """What is missing, stale or too much in each target. What cannot be looked at is told; conflicts are told elsewhere."""
    ours = _state(source, plan)
    if ours.error:
        yield unreadable(source.storage, f"the plan {plan.name}", ours.error)
        return
    for target in targets:
        theirs = _state(target, plan)
        try:
            if theirs.error:
                raise theirs.error
            found = compare(plan, source.storage, ours, target.storage, theirs)
        except HoistError as error:
            yield unreadable(target.storage, f"the plan {plan.name}", error)
            continue
        yield from _findings(plan, source.storage.address, target, found)


def bring_about(plan: SyncPlan, config: Config, findings: Sequence[Finding], progress: Progress) -> dict[str, str]:
    """Do what `hoist sync` does, but for removals; why it could not be done, by storage, where it could not.

    Nothing is done where no finding asks for it.
    """
    if not any(item.kind in SYNCED for item in findings):
        return {}
    try:
        done = run_plan(replace(plan, prune=False), config, progress=progress)
    except HoistError as error:
        return dict.fromkeys(plan.targets, str(error))
    return {
        address: "; ".join([*(str(problem.error) for problem in result.problems), *result.later])
        for address, result in zip(plan.targets, done.targets, strict=True)
    }


def what_became(before: Sequence[Finding], after: Sequence[Finding], refused: Mapping[str, str]) -> list[Finding]:
    """The findings of before, with what became of each, and those that are new."""
    left = {_key(item) for item in after}
    found: list[Finding] = []
    for item in before:
        if item.kind not in SYNCED:
            found.append(item)
        elif _key(item) not in left:
            found.append(item.mended())
        else:
            found.append(item.unmended(refused.get(item.storage) or f"it still is so; {item.mend} says more"))
    known = {_key(item) for item in before}
    return [*found, *(item for item in after if _key(item) not in known)]


def without(findings: Sequence[Finding], planned: Sequence[Finding]) -> list[Finding]:
    """The findings of storages by themselves, without the tags of which the plan says more."""
    told = {_key(item) for item in planned if item.kind == "stale-tag"}
    return [item for item in findings if _key(item) not in told]


def _key(item: Finding) -> tuple[str, str, str]:
    return item.kind, item.storage, item.what


def _state(audit: StorageAudit, plan: SyncPlan) -> StorageState:
    """What there is, with the digests that this audit has read already."""
    state = observe(audit.storage, plan)
    known = {
        version: replace(seen, digest=audit.held[version].digest) if version in audit.held else seen
        for version, seen in state.versions.items()
    }
    return replace(state, versions=known)


def _findings(plan: SyncPlan, source: str, target: StorageAudit, found: Difference) -> Iterator[Finding]:
    address = target.storage.address
    mend = f"hoist sync {plan.name}"
    for version in found.bring:
        detail = f"{source} has it, and the plan {plan.name} wants it here"
        yield Finding("missing", "error", address, str(version), detail, mend, version)
    for move in found.retag:
        yield Finding("stale-tag", "error", address, _name(move.tag), _stale(source, move), mend)
    for tag in found.untag:
        yield Finding("stale-tag", "warning", address, _name(tag), f"{source} has no such tag any more", mend)
    for version in found.remove:
        detail = f"it is older than the {plan.keep} that the plan {plan.name} keeps"
        yield Finding("extra", "warning", address, str(version), detail, mend, version)
    for version in found.extra:
        detail = f"{source} does not have it: nothing of a plan brings or removes it"
        mine = f"hoist remove {address}//{version}, if nobody needs it"
        yield Finding("extra", "note", address, str(version), detail, mine, version)
    for tag in found.extra_tags:
        detail = f"{source} has no such tag, and the plan {plan.name} prunes nothing"
        yield Finding(
            "extra", "note", address, _name(tag), detail, f"hoist remove {address}//{_name(tag)}, if nobody needs it"
        )


def _stale(source: str, move: Retag) -> str:
    wanted = f"{source} has it at {move.tag.name}:{move.tag.label}"
    if move.before is None:
        return f"the tag is not here; {wanted}"
    if move.before.label == move.tag.label:
        return f"it names {move.before.digest}; {wanted} of {move.tag.digest}"
    return f"it names {move.before.name}:{move.before.label or '?'}; {wanted}"


def _name(tag: Tag) -> str:
    return f"{tag.name}:{tag.tag}"
