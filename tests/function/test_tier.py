"""One memory: units stay for as long as somebody holds them, and what outlives that is counted as leaked."""

from __future__ import annotations

import gc

import torch

from hoist.function.tier import Tier


def test_a_unit_stays_until_its_last_holder_goes() -> None:
    tier = Tier()
    tier.put(b"u", torch.zeros(100, dtype=torch.uint8), 100)
    tier.hold([b"u"], "a")
    tier.hold([b"u"], "b")
    assert tier.let_go([b"u"], "a") == []
    assert tier.held("b") == [b"u"]
    freed = tier.let_go([b"u"], "b")
    assert b"u" not in tier
    assert tier.leaked() == 100, "the caller has it yet"
    freed.clear()
    assert tier.leaked() == 0


def test_a_unit_that_is_brought_twice_keeps_its_holders() -> None:
    tier = Tier()
    first = torch.zeros(10, dtype=torch.uint8)
    tier.put(b"u", first, 10)
    tier.hold([b"u"], "a")
    # A load that was given up comes back, when another has brought the same.
    tier.put(b"u", torch.ones(10, dtype=torch.uint8), 10)
    tier.hold([b"u"], "late")
    assert tier.get(b"u") is first
    tier.let_go(tier.held("late"), "late")
    assert tier.held("a") == [b"u"]


def test_units_of_one_mapping_leak_together() -> None:
    tier = Tier()
    flat = torch.zeros(100, dtype=torch.uint8)
    tier.put(b"one", flat[:40], 40)
    tier.put(b"two", flat[40:], 60)
    tier.hold([b"one", b"two"], "a")
    tier.let_go([b"one"], "a").clear()
    assert (tier.leaked(), tier.size) == (0, 60)
    tier.let_go([b"two"], "a").clear()
    assert tier.leaked() == 100
    view = flat[4:6].view(torch.int16)
    del flat
    gc.collect()
    assert tier.leaked() == 100
    del view
    assert tier.leaked() == 0
