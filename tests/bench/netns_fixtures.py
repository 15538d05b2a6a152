"""For tests that need hosts of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hoist.bench import netns


def require_namespaces() -> None:
    """Skip where no namespaces can be made; fail instead when HOIST_REQUIRE_SERVERS=1, as in CI."""
    reason = netns.unavailable()
    if reason and os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def namespaces_of(pid: int) -> list[str]:
    """The names of the namespaces that a process has made and that are still there."""
    folder = Path("/run/netns")
    return (
        sorted(p.name for p in folder.iterdir() if p.name.startswith(f"{netns.PREFIX}-{pid}-"))
        if folder.exists()
        else []
    )
