"""Other tools that read and write what Hoist does."""

from __future__ import annotations

import os

import pytest

from hoist.testing.servers.base import find_program


def program(name: str) -> str:
    """Its path; where it is not installed, a skip on a laptop and a failure in CI."""
    found = find_program(name)
    if found is None:
        reason = f"{name} is not installed: apt-get install -y --no-install-recommends {name}"
        if os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
