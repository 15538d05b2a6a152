"""A run of a plan as a document of JSON: for `--json`, GET /status, and whoever keeps records."""

from __future__ import annotations

from hoist.errors import error_document
from hoist.storage.base import Tag, Version
from hoist.sync.difference import Difference
from hoist.sync.result import SyncResult, TargetResult


def sync_document(result: SyncResult) -> dict[str, object]:
    """Sizes in bytes, times in seconds; no secret."""
    return {
        "plan": result.plan,
        "source": result.source,
        "dry_run": result.dry_run,
        "in_step": result.in_step,
        "began": result.began,
        "seconds": result.seconds,
        "versions": result.versions,
        "read_bytes": result.read_bytes,
        "error": error_document(result.error),
        "targets": [_target(target) for target in result.targets],
    }


def _target(target: TargetResult) -> dict[str, object]:
    return {
        "storage": target.storage,
        "in_step": target.in_step,
        "difference": _difference(target.difference) if target.difference else None,
        "brought": _versions(target.brought),
        "sent_bytes": target.sent_bytes,
        "copied_bytes": target.copied_bytes,
        "signed": _versions(target.signed),
        "tagged": [_tag(tag) for tag in target.tags],
        "untagged": [_tag(tag) for tag in target.untagged],
        "removed": _versions(target.removed),
        "later": list(target.later),
        "lag": {
            "versions": target.lag.versions,
            "size_bytes": target.lag.size,
            "tags": target.lag.tags,
            "seconds": target.lag.seconds,
        },
        "problems": [{"what": problem.what, **(error_document(problem.error) or {})} for problem in target.problems],
    }


def _difference(found: Difference) -> dict[str, object]:
    return {
        "sign": _versions(found.sign),
        "bring": _versions(found.bring),
        "tag": [{**_tag(each.tag), "before": each.before.label if each.before else None} for each in found.retag],
        "untag": [_tag(tag) for tag in found.untag],
        "remove": _versions(found.remove),
        "conflicts": _versions((*found.conflicts, *found.doubts)),
        "stuck_tags": [_tag(tag) for tag in found.stuck],
        "only_there": _versions(found.extra),
        "tags_only_there": [_tag(tag) for tag in found.extra_tags],
    }


def _versions(versions: tuple[Version, ...]) -> list[str]:
    return list(map(str, versions))


def _tag(tag: Tag) -> dict[str, object]:
    return {"name": tag.name, "tag": tag.tag, "version": tag.label}
