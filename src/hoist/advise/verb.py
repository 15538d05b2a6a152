"""The verb in Python: a model and a fleet in, the advice out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hoist.advise.advice import Advice, advise
from hoist.advise.facts import Facts, given_facts, known_facts
from hoist.advise.function_compute import read_function
from hoist.advise.model import model_fields
from hoist.advise.scenario import Scenario, make_scenario, parse_fields, read_scenario
from hoist.config import Config, load_config
from hoist.errors import UsageError


def all_facts(
    files: Iterable[str | Path] = (), given: Mapping[str, Any] | None = None, config: Config | None = None
) -> Facts:
    """Shipped facts, and over them those of `files`, of hoist.toml's [facts] and of `given` (values with units, by id).

    Raises InvalidConfig, InvalidFile, NotFound.
    """
    config = config or load_config()
    today = time.strftime("%Y-%m-%d")
    found = known_facts([Path(file) for file in files], config.facts, today)
    return found.with_facts(given_facts(found, given, "given", today)) if given else found


def advice(
    location: str | None = None,
    *,
    scenario: str | Path | Mapping[str, Any] | None = None,
    s_yaml: str | Path | None = None,
    resource: str | None = None,
    facts: Iterable[str | Path] = (),
    given: Mapping[str, Any] | None = None,
    config: Config | None = None,
    **fields: Any,
) -> Advice:
    """Which storage a model should live in, and why: `.winner`, `.ranked`, `.reasons`, `.crossings`, `.sizings`.

    The model is a `location`, or a `size`. `fields` are a scenario's (`instances=100`, `deadline="120s"`, ...), units in
    texts; they win over those of `scenario` (a TOML file or a table), those over an `s_yaml` of Function Compute 3.0. Only
    with a location anything is read but these files: its manifest and block tables. Raises UsageError, InvalidConfig,
    NotFound, and with a location what a storage may.
    """
    config = config or load_config()
    case = read_case(
        location,
        scenario=scenario,
        s_yaml=s_yaml,
        resource=resource,
        facts=facts,
        given=given,
        config=config,
        fields=fields,
    )
    return advise(case.scenario, case.facts, source=case.source, notes=case.notes)


@dataclass(frozen=True)
class Case:
    """What is judged, and by which facts; `source` is the location it was read from, `notes` what a reader should know."""

    scenario: Scenario
    facts: Facts
    source: str
    notes: tuple[str, ...]


def read_case(
    location: str | None,
    *,
    scenario: str | Path | Mapping[str, Any] | None,
    fields: Mapping[str, Any],
    config: Config,
    s_yaml: str | Path | None = None,
    resource: str | None = None,
    facts: Iterable[str | Path] = (),
    given: Mapping[str, Any] | None = None,
) -> Case:
    """The case that `advice` and simulations are about, of all that says something of it. Raises as `advice`."""
    known = all_facts(facts, given, config)
    values: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if s_yaml is not None:
        function = read_function(Path(s_yaml), resource)
        values |= function.fields
        mounted = (f"The function mounts {' and '.join(function.mounts)} now",) if function.mounts else ()
        notes = (*function.notes, *mounted)
    elif resource is not None:
        raise UsageError("a resource is one of an s.yaml: say which (--s-yaml FILE)")
    table = read_scenario(Path(scenario)) if isinstance(scenario, str | Path) else dict(scenario or {})
    where = str(scenario) if isinstance(scenario, str | Path) else "the scenario"
    values |= parse_fields(table, where)
    values |= parse_fields({name: value for name, value in fields.items() if value is not None}, "")
    model = location or table.get("model")
    if model is not None:
        if not isinstance(model, str):
            raise UsageError(f"{where}: model = {model!r}: write a location, as nas//sd15/anything:v5")
        if "size" in values:
            raise UsageError(
                f"the size is given twice: {model} has one, and {values['size']:,} bytes are said; leave one out"
            )
        # What is said of it wins over what it says.
        values = model_fields(model, config) | values
    made = make_scenario(values, known)
    return Case(made, known, model or "", notes)
