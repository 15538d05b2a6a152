"""How far a storage is behind another one, by a plan."""

from __future__ import annotations

import time

from hoist.status.content import Content
from hoist.status.state import Lag
from hoist.storage.base import Storage
from hoist.sync.observe import compare
from hoist.sync.plan import SyncPlan


def lag_of(plan: SyncPlan, source: Storage, ahead: Content, target: Storage, behind: Content) -> Lag:
    """The lag of `target`. Manifests are read only where nothing else tells whether two versions are one.

    Raises what a storage may.
    """
    found = compare(plan, source, ahead.state, target, behind.state)
    published = [ahead.state.versions[version].published for version in found.bring]
    oldest = min(filter(None, published), default=None)
    sizes = [ahead.sizes[version].size for version in found.bring if version in ahead.sizes]
    return Lag(
        plan=plan.name,
        source=plan.source,
        in_step=found.in_step,
        versions=len(found.bring),
        size_bytes=sum(sizes),
        tags=len(found.retag),
        # By the source's clock and this one's, which may differ.
        seconds=None if oldest is None else max(0.0, time.time() - oldest),
        conflicts=len(found.conflicts) + len(found.doubts),
        stuck=len(found.stuck),
        surplus=len(found.remove) + len(found.untag),
    )
