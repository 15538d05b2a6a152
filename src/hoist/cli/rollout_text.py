"""What rollouts, rollbacks and histories say: step by step, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock
from typing import Any

from hoist.cli.text import print_table, printable, short_digest, show_count, show_seconds, show_size
from hoist.errors import error_document
from hoist.rollout.history import History
from hoist.rollout.outcome import Checked, RegionBack, RegionRolled, RolledOut
from hoist.rollout.told import Told
from hoist.storage.base import Tag, Version
from hoist.storage.moves import TagMove
from hoist.transfer.copy import Copied


class Steps(Told):
    """Prints each step as it is made. `begin` is called when tags begin to move."""

    def __init__(self, begin: Callable[[], None], *, silent: bool) -> None:
        self._begin = begin
        self._silent = silent
        self._lock = Lock()

    def found(self, version: Version, digest: str, source: str) -> None:
        self._say(f"{version}  {short_digest(digest)}, found in {source}")

    def brought(self, region: str, copied: Copied | None) -> None:
        if copied is None:
            self._say(f"  {region}  has it")
        elif copied.error is None:
            moved = f"{show_size(copied.sent_bytes)} sent in {show_seconds(copied.seconds)}"
            self._say(f"  {region}  brought: {moved}")
        else:
            self._say(f"  {region}  NOT brought")

    def moving(self) -> None:
        self._begin()

    def moved(self, region: str, before: Tag | None, *, already: bool) -> None:
        stood = f"it was {before.label} before" if before else "it is new there"
        self._say(f"{region}  the tag names it already" if already else f"{region}  the tag is moved; {stood}")

    def checking(self, region: str) -> None:
        self._say(f"{region}  checking")

    def checked(self, region: str, checked: Checked) -> None:
        took = show_seconds(checked.seconds)
        self._say(
            f"{region}  the check passed in {took}" if checked.passed else f"{region}  the check FAILED: {checked}"
        )

    def waiting(self, seconds: float, region: str) -> None:
        self._say(f"waiting {show_seconds(seconds, whole=True)} before {region}")

    def returning(self, why: str) -> None:
        self._say(f"going back: {why}")

    def returned(self, region: RegionRolled) -> None:
        stood = f"names {region.before.label} again" if region.before else "is gone again, as it was new there"
        said = {
            "back": f"the tag {stood}",
            "left": "LEFT as it is: somebody else has moved the tag since",
        }
        self._say(f"{region.region}  {said.get(region.state, 'NOT put back')}")

    def rolled_back(self, region: RegionBack) -> None:
        self._say(f"{region.region}  {_back(region)}")

    def end(self, done: RolledOut) -> None:
        """The last line."""
        where = show_count(len(done.regions), "region")
        if done.error is None:
            self._say(f"{done.version.name}:{done.tag} is {done.version} in {where}, in {show_seconds(done.seconds)}")

    def _say(self, line: str) -> None:
        with self._lock:
            if self._silent:
                return
            try:
                print(printable(line), flush=True)
            except OSError:
                # Whoever read it has gone: that is no reason to leave things half done.
                self._silent = True


def print_outlook(done: RolledOut) -> None:
    """What a rollout would do in each region."""
    for each in done.regions:
        steps = []
        if each.brought is not None:
            steps.append(f"bring it, {show_size(each.brought.sent_bytes)} to send")
        now = each.before.label if each.before else "nothing"
        if each.state == "already" and not steps:
            print(printable(f"  {each.region}  nothing to do: the tag names it already"))
            continue
        if each.state == "already":
            steps.append("leave the tag, which names it already")
        elif each.error is None:
            steps.append(f"move {done.tag} from {now}")
        else:
            steps.append("fail")
        print(printable(f"  {each.region}  would: {', then '.join(steps)}"))


def print_history(histories: Sequence[History]) -> None:
    """A table for each tag, the newest move first."""
    for history in histories:
        for each in history.tags:
            where = f"{history.storage}//{history.name}:{each.now.tag}"
            print(printable(f"{where} is {each.now.label or 'damaged'}  {short_digest(each.now.digest)}"))
            if each.moves:
                rows = [_row(move) for move in reversed(each.moves)]
                print_table(("WHEN", "FROM", "TO", "BY", "WHY"), rows, indent="  ")
            else:
                print("  no moves are known: it was set by an older Hoist, or by another tool")
        if not history.tags and history.error is None:
            print(printable(f"{history.storage}//{history.name} has no tags"))


def rolled_document(done: RolledOut) -> dict[str, Any]:
    """A rollout as JSON."""
    return {
        "name": done.version.name,
        "version": done.version.label,
        "digest": done.digest,
        "tag": done.tag,
        "source": done.source,
        "dry_run": done.dry_run,
        "seconds": done.seconds,
        "regions": [_region(each) for each in done.regions],
        "error": error_document(done.error),
    }


def back_document(region: RegionBack) -> dict[str, Any]:
    """A region of a rollback as JSON."""
    return {
        "region": region.region,
        "before": region.before.label if region.before else None,
        "version": region.now.label if region.now else None,
        "digest": region.now.digest if region.now else None,
        "already": region.already,
        "brought": region.brought,
        "error": error_document(region.error),
    }


def history_document(history: History) -> dict[str, Any]:
    """A history as JSON."""
    return {
        "storage": history.storage,
        "name": history.name,
        "tags": [
            {
                "tag": each.now.tag,
                "version": each.now.label,
                "digest": each.now.digest,
                "moves": [_move(move) for move in each.moves],
            }
            for each in history.tags
        ],
        "error": error_document(history.error),
    }


def _back(region: RegionBack) -> str:
    before = region.before.label if region.before else "nothing"
    now = region.now.label if region.now else "nothing"
    if region.error is not None:
        return f"NOT rolled back; the tag names {before}" if region.before else "NOT rolled back"
    if region.already:
        return f"the tag names {now} already"
    return f"the tag names {now} again; it was {before}" + (
        ", and the version was brought back" if region.brought else ""
    )


def _region(region: RegionRolled) -> dict[str, Any]:
    brought, checked = region.brought, region.checked
    return {
        "region": region.region,
        "state": region.state,
        "before": region.before.label if region.before else None,
        "before_digest": region.before.digest if region.before else None,
        "sent_bytes": brought.sent_bytes if brought else 0,
        "copied_bytes": brought.copied_bytes if brought else 0,
        "brought": brought is not None,
        "check": None
        if checked is None
        else {"passed": checked.passed, "status": checked.status, "seconds": checked.seconds},
        "error": error_document(region.error),
    }


def _move(move: TagMove) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(move.at).astimezone().isoformat(timespec="milliseconds"),
        "from": move.before_label or None,
        "from_digest": move.before_digest or None,
        "to": move.label,
        "to_digest": move.digest,
        "by": move.by,
        "note": move.note,
    }


def _row(move: TagMove) -> tuple[str, ...]:
    when = datetime.fromtimestamp(move.at).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    return when, move.before_label or "-", move.label, move.by, move.note
