"""Which storages an audit is of: those named, those of a plan, or all that are configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from hoist.audit.finding import Finding
from hoist.audit.storage import StorageAudit
from hoist.config import Config
from hoist.errors import HoistError, InvalidConfig, UsageError
from hoist.read.connect import connect
from hoist.signing.trust import trusted
from hoist.sync.find import find_plan, means_plan
from hoist.sync.plan import SyncPlan


@dataclass(frozen=True, slots=True)
class Where:
    """The storages by their addresses, with the plan that named them, and the configuration that reaches them. `signers`
    are those whom the logical storages require that they are members of."""

    addresses: tuple[str, ...]
    plan: SyncPlan | None
    config: Config
    signers: Mapping[str, tuple[tuple[str, ...], ...]]


@dataclass(slots=True)
class Opened:
    """The storages that could be opened, and what is to be said of the others. `compared` are logical ones of a plan, whose
    members are audited in their place."""

    audits: list[StorageAudit] = field(default_factory=list)
    compared: list[StorageAudit] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def find(self, address: str) -> StorageAudit | None:
        """The audit of the storage at an address; None if it could not be opened."""
        return next((each for each in [*self.audits, *self.compared] if each.config.address == address), None)


def parse_places(given: Sequence[str], config: Config) -> Where:
    """What `given` means: storages, or one plan; if nothing is given the only plan there is, or else all storages.

    Raises UsageError, InvalidConfig.
    """
    plans = [each for each in given if means_plan(each, config)]
    if plans and len(given) > 1:
        raise UsageError(f"{plans[0]} is a plan: audit it alone, or name storages only")
    if plans or (not given and config.plans):
        plan, reached = find_plan(plans[0] if plans else "", config)
        return _where((plan.source, *plan.targets), plan, reached)
    named = given or sorted(config.storages)
    if not named:
        raise UsageError("say which storages to audit: hoist.toml and HOIST_STORAGE_* name none")
    return _where(named, None, config)


def _where(addresses: Sequence[str], plan: SyncPlan | None, config: Config) -> Where:
    """The storages themselves: of a logical one its members, as each has bytes of its own. Raises StorageNotFound."""
    found: list[str] = []
    signers: dict[str, tuple[tuple[str, ...], ...]] = {}
    for address in addresses:
        chosen = config.storage(address)
        found += [member.address for member in chosen.members] or [address]
        for member in chosen.members if chosen.require_signature else ():
            signers[member.address] = (*signers.get(member.address, ()), chosen.require_signature)
    return Where(tuple(dict.fromkeys(found)), plan, config, signers)


def open_places(where: Where, stack: ExitStack) -> Opened:
    """Open all storages, to be closed with `stack`. One that cannot be had is a finding; what is no storage is raised,
    and so are InvalidConfig and LocalError for keys that cannot be read."""
    opened = Opened()
    roles = (where.plan.source, *where.plan.targets) if where.plan else ()
    for address in dict.fromkeys([*where.addresses, *roles]):
        chosen = where.config.storage(address)
        try:
            storage, engine = connect(address, where.config)
        except InvalidConfig:
            raise
        except HoistError as error:
            mend = f"see that it is there and answers: hoist doctor {address}"
            opened.findings.append(Finding("unreachable", "error", address, address, str(error), mend))
            continue
        stack.callback(storage.close)
        storage.required_signers = (*storage.required_signers, *where.signers.get(address, ()))
        for names in storage.required_signers:
            # A key that cannot be read is said at once, and not of every version.
            trusted(names)
        audit = StorageAudit(storage, chosen, where.config.environ, engine)
        (opened.audits if address in where.addresses else opened.compared).append(audit)
    return opened
