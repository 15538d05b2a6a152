"""Auditing storages by their addresses, or those of a plan: `hoist audit`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from hoist.auditing.finding import Audit, Finding, in_order
from hoist.auditing.healing import Place
from hoist.auditing.repair import repair as repair_storage
from hoist.auditing.sample import parse_sample
from hoist.auditing.storage import StorageAudit
from hoist.config import Config, load_config
from hoist.errors import HoistError, InvalidConfig, UsageError
from hoist.parallel import for_each
from hoist.progress import Progress
from hoist.read.connect import connect

_STORAGES_AT_ONCE = 4
DEFAULT_SAMPLE = "5%"


def audit(
    *storages: str,
    sample: str = DEFAULT_SAMPLE,
    seed: int | None = None,
    repair: bool = False,
    progress: Progress | None = None,
    config: Config | None = None,
) -> Audit:
    """Look at storages: what is damaged, missing, in conflict, stale, left behind, open to others.

    Without `storages`, all that are configured. `sample` is how much of each one's bytes is read: `5%` (16 GiB at most),
    `2GiB`, `whole`, `none`; `seed` chooses the same blocks again. `repair` heals damaged and missing files from the other
    storages. What cannot be looked at is a finding. Raises UsageError, StorageNotFound for what is no storage's name.
    """
    began = time.monotonic()
    config = config or load_config()
    told = progress or Progress()
    chosen = parse_sample(sample)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    addresses = [*dict.fromkeys(storages)] or sorted(config.storages)
    if not addresses:
        raise UsageError("say which storages to audit: hoist.toml and HOIST_STORAGE_* name none")
    with ExitStack() as stack:
        opened = _Opened(stack, config, addresses)
        audits = opened.audits
        told.begin("looking at versions", 0)
        for_each(lambda each: each.look(documents=not chosen.none), audits, _STORAGES_AT_ONCE)
        told.end()
        told.begin("auditing", sum(each.to_read(chosen) for each in audits))
        for_each(lambda each: each.read(chosen, seed, told), audits, _STORAGES_AT_ONCE)
        told.end()
        if repair:
            places = [Place(each.storage, each.engine) for each in audits]
            for each, place in zip(audits, places, strict=True):
                each.findings = repair_storage(place, places, each.findings, told)
        found = [*opened.findings, *(item for each in audits for item in each.findings), *conflicts(audits)]
        return Audit(
            findings=in_order(found),
            storages=[each.looked for each in audits],
            sample=str(chosen),
            seed=seed,
            seconds=time.monotonic() - began,
            repair=repair,
        )


def conflicts(audits: Sequence[StorageAudit]) -> Iterator[Finding]:
    """Versions that have one label and different contents: told of each storage that differs from the first that has it."""
    first: dict[object, tuple[str, str]] = {}
    for each in audits:
        address = each.storage.address
        for version, held in each.held.items():
            where, digest = first.setdefault(version, (address, held.digest))
            if held.digest != digest:
                detail = f"it is {held.digest} here, and {digest} in {where}"
                mend = f"find out which is right (hoist inspect {where}//{version}), remove the other, and copy it anew"
                yield Finding("conflict", "error", address, str(version), detail, mend, version)


@dataclass
class _Opened:
    """The storages that could be opened, and findings about the others."""

    stack: ExitStack
    config: Config
    addresses: Sequence[str]

    def __post_init__(self) -> None:
        self.findings: list[Finding] = []
        self.audits: list[StorageAudit] = []
        for address in self.addresses:
            chosen = self.config.storage(address)
            try:
                storage, engine = connect(address, self.config)
            except InvalidConfig:
                raise
            except HoistError as error:
                mend = "see that it is there and answers: hoist doctor " + address
                self.findings.append(Finding("unreachable", "error", address, address, str(error), mend))
                continue
            self.stack.callback(storage.close)
            self.audits.append(StorageAudit(storage, chosen, self.config.environ, engine))


__all__ = ["DEFAULT_SAMPLE", "audit", "conflicts"]
