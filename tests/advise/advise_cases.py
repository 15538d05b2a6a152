"""The situations that the source document describes, and short ways to ask about others."""

from __future__ import annotations

from typing import Any

from hoist.advise.advice import Advice, advise
from hoist.advise.facts import shipped
from hoist.advise.scenario import Scenario, make_scenario

GIB = 1 << 30
DAY, WEEK = 86400.0, 604800.0
# The document's ten checkpoints have about this size each, and together they are no image any more.
CHECKPOINT: dict[str, Any] = {"size": int(3.97 * GIB), "models": 10}


def case(facts: Any = None, **values: Any) -> Scenario:
    """A scenario of parsed values, 4 GiB if no size is given; `facts` are Facts, or those that are shipped."""
    return make_scenario({"size": 4 * GIB} | values, facts or shipped())


def advised(facts: Any = None, **values: Any) -> Advice:
    """The advice for it."""
    return advise(case(facts, **values), facts or shipped())
