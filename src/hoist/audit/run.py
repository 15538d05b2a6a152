"""Auditing storages by their addresses, or those of a plan: `hoist audit`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from hoist.audit.against import against_plan, bring_about, what_became, without
from hoist.audit.finding import Audit, Finding, in_order
from hoist.audit.healing import Place
from hoist.audit.places import Opened, Where, open_places, parse_places
from hoist.audit.repair import repair as repair_storage
from hoist.audit.sample import Sample, parse_sample
from hoist.audit.storage import StorageAudit
from hoist.config import Config, load_config
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.storage.base import Version

_STORAGES_AT_ONCE = 4
DEFAULT_SAMPLE = "5%"


def audit(
    *places: str,
    sample: str = DEFAULT_SAMPLE,
    seed: int | None = None,
    repair: bool = False,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Audit:
    """Look at storages: what is damaged, missing, in conflict, stale, left behind, open to others.

    `places` are storages, or one plan (its name, or a .toml file), whose storages are compared with what it wants; by
    default the only plan there is, or else all storages that are configured. `sample` is how much of each one's bytes is
    read: `5%` (16 GiB at most), `2GiB`, `whole`, `none`; the same `seed` chooses the same blocks. `repair` heals damaged
    and missing files from the other storages. What cannot be looked at is a finding. Raises UsageError, InvalidConfig,
    StorageNotFound for what is no storage's name.
    """
    began = time.monotonic()
    where = parse_places(places, config or load_config())
    chosen = parse_sample(sample)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    told = progress or Progress()
    with ExitStack() as stack:
        opened = open_places(where, stack)
        _look(opened.audits, chosen, seed, told)
        if repair:
            _repair(opened.audits, told)
        for_each(StorageAudit.look_at_protection, opened.audits, _STORAGES_AT_ONCE)
        planned = _planned(where, opened, repair=repair, progress=told)
        found = without([item for each in opened.audits for item in each.findings], planned)
        found = [*opened.findings, *found, *conflicts(opened.audits), *planned]
        return Audit(
            findings=in_order(found),
            storages=[each.looked for each in opened.audits],
            sample=str(chosen),
            seed=seed,
            seconds=time.monotonic() - began,
            plan=where.plan.name if where.plan else "",
            repair=repair,
        )


def conflicts(audits: Sequence[StorageAudit]) -> Iterator[Finding]:
    """Versions that have one label and different contents: told of each storage that differs from the first that has it."""
    first: dict[Version, tuple[str, str]] = {}
    for each in audits:
        address = each.storage.address
        for version, held in each.held.items():
            where, digest = first.setdefault(version, (address, held.digest))
            if held.digest != digest:
                detail = f"it is {held.digest} here, and {digest} in {where}"
                mend = f"find out which is right (hoist inspect {where}//{version}), remove the other, and copy it anew"
                yield Finding("conflict", "error", address, str(version), detail, mend, version)


def _look(audits: Sequence[StorageAudit], sample: Sample, seed: int, progress: Progress) -> None:
    for_each(lambda each: each.look(documents=not sample.none), audits, _STORAGES_AT_ONCE)
    progress.begin("auditing", sum(each.to_read(sample) for each in audits))
    for_each(lambda each: each.read(sample, seed, progress), audits, _STORAGES_AT_ONCE)
    progress.end()


def _repair(audits: Sequence[StorageAudit], progress: Progress) -> None:
    places = [Place(each.storage, each.engine) for each in audits]
    for each, place in zip(audits, places, strict=True):
        each.findings = repair_storage(place, places, each.findings, progress)


def _planned(where: Where, opened: Opened, *, repair: bool, progress: Progress) -> list[Finding]:
    """What is not as the plan wants it, and what became of that."""
    plan = where.plan
    source = opened.find(plan.source) if plan else None
    if plan is None or source is None:
        return []
    targets = [found for address in plan.targets if (found := opened.find(address))]
    before = list(against_plan(plan, source, targets))
    if not repair:
        return before
    refused = bring_about(plan, where.config, before, progress)
    for each in targets if refused else ():
        each.look_again_at_tags()
    return what_became(before, list(against_plan(plan, source, targets)) if refused else before, refused)
