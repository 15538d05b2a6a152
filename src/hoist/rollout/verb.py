"""From what a user gives to an order: regions by their names or a plan, and everything checked before anything moves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from threading import Event

from hoist.config import Config
from hoist.errors import HoistWarning, UsageError
from hoist.model.reference import Reference, check_label, check_name, parse_reference
from hoist.progress import Progress
from hoist.rollout.back import roll_back
from hoist.rollout.check import Check
from hoist.rollout.outcome import RegionBack, RolledOut
from hoist.rollout.regions import split_regions
from hoist.rollout.run import Order, roll_out
from hoist.rollout.told import Told
from hoist.sync.find import find_plan
from hoist.sync.plan import SyncPlan

ON_FAILURE = ("rollback", "stop")


def start_rollout(
    reference: str,
    *,
    tag: str,
    regions: Sequence[str],
    plan: str,
    source: str,
    check: str | None,
    check_timeout: float,
    wait: float,
    on_failure: str,
    dry_run: bool,
    told: Told | None,
    stop: Event | None,
    progress: Progress,
    config: Config,
) -> RolledOut:
    """See `hoist.verbs.rollout`."""
    wanted = parse_reference(reference)
    check_label(tag)
    if on_failure not in ON_FAILURE:
        raise UsageError(f"on failure: {' or '.join(ON_FAILURE)}, not {on_failure!r}")
    if check is not None and not check.strip():
        raise UsageError("the check is empty: give a command, such as 'hoist verify \"$HOIST_ROLLOUT_LOCATION\"'")
    if check_timeout <= 0:
        raise UsageError("a check needs time: write 90s, 5m or 1h")
    where = split_regions(regions)
    if plan:
        found, config = find_plan(plan, config)
        _warn_of(found, wanted, tag)
        where = where or tuple(dict.fromkeys((found.source, *found.targets)))
        source = source or found.source
    if not where:
        raise UsageError("say in which regions: --regions a,b, or a plan that has them (--plan)")
    order = Order(
        reference=wanted,
        tag=tag,
        regions=where,
        source=source,
        check=Check(check, check_timeout) if check is not None else None,
        wait_seconds=wait,
        put_back=on_failure == "rollback",
        dry_run=dry_run,
    )
    return roll_out(order, config, told or Told(), progress, stop or Event())


def start_rollback(
    name: str, *, tag: str, regions: Sequence[str], to: str | None, told: Told | None, config: Config
) -> list[RegionBack]:
    """See `hoist.verbs.rollback`."""
    check_name(name)
    check_label(tag)
    if to is not None:
        check_label(to)
    where = split_regions(regions)
    if not where:
        raise UsageError("say in which regions: --regions a,b")
    return roll_back(name, tag, where, to, config, told or Told())


def _warn_of(plan: SyncPlan, reference: Reference, tag: str) -> None:
    if plan.keeps_tag(reference.name, tag):
        warnings.warn(
            f"the plan {plan.name} keeps {reference.name}:{tag} in step: a sync moves it everywhere as soon as "
            f"{plan.source} has it, or back; leave {tag} out of the plan's tags",
            HoistWarning,
            stacklevel=4,
        )
