"""Memory for weights: what is let go of is gone, and what somebody refers to stays."""

from __future__ import annotations

from pathlib import Path

import torch

from hoist.memory import allocate


def resident() -> int:
    """Anonymous memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_memory_goes_with_the_last_who_refers_to_it() -> None:
    before = resident()
    memory = allocate(64 << 20)
    memory[:] = b"x" * len(memory)
    tensor = torch.frombuffer(memory, dtype=torch.uint8)[5:]
    del memory
    assert resident() - before > 60 << 20
    assert int(tensor[-1]) == ord("x")
    del tensor
    assert resident() - before < 8 << 20


def test_memory_that_was_closed_is_let_go_of_quietly() -> None:
    memory = allocate(1 << 20)
    memory.close()
    del memory
