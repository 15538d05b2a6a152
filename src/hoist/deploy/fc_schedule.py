"""When instances of Function Compute run without being asked: its usage modes, as provisionConfig has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hoist.deploy.yaml_text import Path
from hoist.errors import UsageError

MODES = ("on-demand", "idle", "provisioned")
# Function Compute wants both ends of a schedule. No clock is read here, so that the same input makes the same file.
_BEGIN, _END = "2026-01-01T00:00:00", "2099-12-31T23:59:59"
_CRON = re.compile(r"(?:cron\((?P<cron>[^()]+)\)|at\((?P<at>[0-9T:-]+)\))=(?P<target>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Schedule:
    """`minimum` instances that stay; `actions` are (expression, instances)."""

    mode: str = "on-demand"
    minimum: int = 0
    actions: tuple[tuple[str, int], ...] = ()
    time_zone: str = "Asia/Shanghai"


def make_schedule(mode: str | None, minimum: int | None, texts: Iterable[str], time_zone: str) -> Schedule:
    """A mode with what it needs; without one, by what is given. Raises UsageError."""
    actions = tuple(_action(text) for text in texts)
    mode = mode or ("provisioned" if actions else "idle" if minimum else MODES[0])
    if mode not in MODES:
        raise UsageError(f"--mode {mode!r} is none of {', '.join(MODES)}")
    if mode == "on-demand" and (minimum or actions):
        raise UsageError(
            "--mode on-demand has no instances that stay: --min goes with idle, --schedule with provisioned"
        )
    if mode == "idle" and actions:
        raise UsageError("--schedule goes with --mode provisioned")
    least = 1 if mode == "idle" else 0
    count = least if minimum is None else minimum
    if count < least:
        raise UsageError(f"--min {count}: {mode} keeps {least} or more")
    return Schedule(mode, count, actions, time_zone)


def _action(text: str) -> tuple[str, int]:
    found = _CRON.fullmatch(text.strip())
    if not found or (found["cron"] and len(found["cron"].split()) != 6):
        raise UsageError(
            f"--schedule {text!r} is not cron(SECOND MINUTE HOUR DAY MONTH WEEKDAY)=INSTANCES, as 'cron(0 0 20 * * *)=10'"
        )
    return text.strip().rpartition("=")[0], int(found["target"])


def provision(schedule: Schedule) -> tuple[dict[str, Any], dict[Path, str]]:
    """The field provisionConfig with its comments; nothing for on-demand."""
    if schedule.mode == "on-demand":
        return {}, {}
    active = schedule.mode == "provisioned"
    config = {
        "defaultTarget": schedule.minimum,
        "alwaysAllocateCPU": active,
        "alwaysAllocateGPU": active,
        "scheduledActions": [_scheduled(at, each, schedule.time_zone) for at, each in enumerate(schedule.actions, 1)],
        "targetTrackingPolicies": [],
    }
    idle = (
        "Instances that stay, billed idle: CPU and GPU are held back between requests, the model stays on the device."
    )
    planned = (
        "Instances that are ready before the requests: all of an action start at once, so their storage sees a burst."
    )
    return {"provisionConfig": config}, {("provisionConfig",): planned if active else idle}


def _scheduled(number: int, action: tuple[str, int], time_zone: str) -> dict[str, Any]:
    expression, target = action
    return {
        "name": f"schedule-{number}",
        "startTime": _BEGIN,
        "endTime": _END,
        "target": target,
        "scheduleExpression": expression,
        "timeZone": time_zone,
    }
