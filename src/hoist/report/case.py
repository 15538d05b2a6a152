"""The case that a report judges: the user's scenario, or one about the models that were measured, with facts learned."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hoist.advise.advice import Advice, advise
from hoist.advise.facts import Fact, given_facts, known_facts
from hoist.advise.learn import learn
from hoist.advise.model import model_fields
from hoist.advise.scenario import PLATFORMS, make_scenario, parse_fields, read_scenario
from hoist.config import Config
from hoist.errors import UsageError
from hoist.report.material import Material
from hoist.report.switches import real_size


@dataclass(frozen=True, slots=True)
class Case:
    """The advice, what was learned of the records for it, and whether the size is the measured models'."""

    advice: Advice
    learned: Sequence[Fact]
    size_measured: bool

    @property
    def measured(self) -> list[str]:
        """The storages that the records tell a rate of."""
        kinds = {fact.id.split(".")[1] for fact in self.learned if fact.id.count(".") > 1}
        return [kind for kind in self.advice.judged if kind in kinds]


def judge_case(paths: Sequence[Path], material: Material, scenario: Path | None, config: Config) -> Case | None:
    """Advise by shipped facts, what the records tell over them, and the user's own over both; None without any size.

    Raises what a scenario, hoist.toml's [facts] or, of a scenario with a model, a storage may.
    """
    table = read_scenario(scenario) if scenario else {}
    values: dict[str, Any] = parse_fields(table, str(scenario)) if scenario else {}
    model = table.get("model")
    if model is not None:
        if not isinstance(model, str):
            raise UsageError(f"{scenario}: model = {model!r}: write a location, as nas//sd15/anything:v5")
        if "size" in values:
            raise UsageError(f"{scenario}: size and model are both given: leave one out")
        values = model_fields(model, config) | values
    measured = "size" not in values
    if measured:
        size = _size(material)
        if size is None:
            return None
        values["size"] = size
    learned = _learned(paths, values.get("platform", PLATFORMS[0]))
    facts = known_facts().with_facts(learned)
    if config.facts:
        facts = facts.with_facts(given_facts(facts, config.facts, "hoist.toml", time.strftime("%Y-%m-%d")))
    return Case(advise(make_scenario(values, facts), facts), learned, measured)


def _learned(paths: Sequence[Path], platform: str) -> list[Fact]:
    try:
        return learn(dict.fromkeys(paths), platform).facts
    except UsageError:
        # None of them tells a rate: the shipped facts stand.
        return []


def _size(material: Material) -> int | None:
    """The middle one of the measured models at their real sizes; else what a herd stood for."""
    switched = {
        record["file"]: real_size(record["file"], int(record["size"]))
        for record in material.records
        if record["bench"] == "switch" and "skipped" not in record
    }
    herds = [int(r["model_size"]) for r in material.records if r["bench"] == "herd" and "skipped" not in r]
    sizes = sorted(switched.values()) or sorted(herds)
    return sizes[len(sizes) // 2] if sizes else None
