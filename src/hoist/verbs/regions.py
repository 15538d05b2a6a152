"""Storages and regions: kept in step, rolled out to, looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hoist.config import Config, load_config
from hoist.progress import Progress

if TYPE_CHECKING:
    from threading import Event

    from hoist.rollout.history import History
    from hoist.rollout.outcome import RegionBack, RolledOut
    from hoist.rollout.told import Told
    from hoist.status.run import Options as StatusOptions
    from hoist.status.state import Status
    from hoist.sync.result import SyncResult


def sync(
    plan: str = "", *, dry_run: bool = False, progress: Progress | None = None, config: Config | None = None
) -> SyncResult:
    """Bring the targets of a plan into step with its source: `plan` is the NAME of a `[sync.NAME]` in hoist.toml, a file
    that has one, or empty where there is only one; `dry_run` only says what differs.

    A result for each target, in order: what went wrong there is among its `problems`, and holds nobody else back. Raises
    UsageError, InvalidConfig, and what the source raises when it is looked at.
    """
    from hoist.sync.find import find_plan
    from hoist.sync.run import run_plan

    found, config = find_plan(plan, config or load_config())
    return run_plan(found, config, dry_run=dry_run, progress=progress)


def rollout(
    reference: str,
    *,
    tag: str,
    regions: Sequence[str] = (),
    plan: str = "",
    source: str = "",
    check: str | None = None,
    check_timeout: float = 300.0,
    wait: float = 0.0,
    on_failure: str = "rollback",
    dry_run: bool = False,
    told: Told | None = None,
    stop: Event | None = None,
    progress: Progress | None = None,
    config: Config | None = None,
) -> RolledOut:
    """Bring a version (`NAME:VERSION`) to every region (a storage), then move `tag` to it in one region after the other.

    Regions and source are those of a sync plan where they are not given; without a source the version comes from the first
    region that has it. After each move the shell command `check` is run, for `check_timeout` seconds at most, with
    HOIST_ROLLOUT_REGION, _LOCATION, _NAME, _VERSION, _DIGEST, _TAG and _PREVIOUS in its environment; `wait` seconds pass
    between two regions. If it fails, somebody else moves the tag, or `stop` is set, all regions that were moved go back to
    what stood there (`on_failure="stop"`: they stay), and the result's `error` says why. Running it again goes on.
    Raises InvalidReference, UsageError, NotFound, Conflict, and what a storage may, before any tag has moved.
    """
    from hoist.rollout.verb import start_rollout

    return start_rollout(
        reference,
        tag=tag,
        regions=regions,
        plan=plan,
        source=source,
        check=check,
        check_timeout=check_timeout,
        wait=wait,
        on_failure=on_failure,
        dry_run=dry_run,
        told=told,
        stop=stop,
        progress=progress or Progress(),
        config=config or load_config(),
    )


def rollback(
    name: str,
    *,
    tag: str,
    regions: Sequence[str],
    to: str | None = None,
    told: Told | None = None,
    config: Config | None = None,
) -> Sequence[RegionBack]:
    """Let a model's tag name again, in each region, what it named before, or the version `to`.

    Going back again goes further back, and never to what was gone back from. A version that has gone from a region is
    brought back from another one first. A result for each region, in order: what went wrong there is its `error`,
    and holds nobody else back. Raises InvalidReference, UsageError.
    """
    from hoist.rollout.verb import start_rollback

    return start_rollback(name, tag=tag, regions=regions, to=to, told=told, config=config or load_config())


def history(locations: str | Sequence[str], *, config: Config | None = None) -> Sequence[History]:
    """How tags came to name what they name: of `STORAGE//NAME:TAG`, or all those of `STORAGE//NAME`; who moved them, when
    and from what. A result for each location, with its `error`. Raises InvalidReference, UsageError."""
    from hoist.rollout.history import read_histories

    asked = [locations] if isinstance(locations, str) else locations
    return read_histories(asked, config or load_config())


def status(*names: str, options: StatusOptions | None = None, config: Config | None = None) -> Status:
    """How storages are: `.storages` with what is in each, how far it is behind, what is read from it now, what goes wrong.

    `names` are plans, files with one, and storages; without any, all that are configured. What a storage raises is among its
    `problems`. One that hangs is given up after a time, and its thread left behind: Python's own end may wait for that.
    Raises InvalidConfig, UsageError.
    """
    from hoist.status.run import look_once

    return look_once(*names, options=options, config=config)
