"""The guide's comparison table, filled in for one case: a row for what is compared, a cell for each storage. Pure."""

from __future__ import annotations

from math import floor, inf

from hoist.advise import words
from hoist.advise.advice import Advice
from hoist.advise.scenario import Scenario
from hoist.advise.sizing import Judged


def comparison(advice: Advice) -> dict[str, dict[str, str]]:
    """Cells by row and storage."""
    rows = {
        "size": _size,
        "throughput": _throughput,
        "compatibility": _compatibility,
        "management": _management,
        "zones": _zones,
        "page cache": _page_cache,
    }
    found = {
        name: {kind: cell(judged, advice.scenario) for kind, judged in advice.judged.items()}
        for name, cell in rows.items()
    }
    found["cost"] = {kind: _cost(judged) for kind, judged in advice.judged.items()}
    found["in time"] = {kind: _in_time(advice, kind) for kind in advice.judged}
    return found


def _size(judged: Judged, scenario: Scenario) -> str:
    most = judged.candidate.used.get("most size")
    if judged.kind == "image":
        base = "" if scenario.base_image else ", base aside"
        need = words.decimal_size(scenario.stored + scenario.base_image)
        if most is None:
            return f"{need}{base}"
        return f"too large: {need} of {most.shown}" if judged.candidate.problem else f"{need} of {most.shown}{base}"
    if judged.kind == "oss":
        return f"{words.size(scenario.stored)}, no limit"
    if judged.kind == "accl":
        return f"{words.size(scenario.stored)}, cache {words.decimal_size(judged.candidate.cache)}"
    grown = judged.candidate.held > scenario.stored
    limit = f" of {most.shown}" if most else ""
    return f"{words.size(judged.candidate.held)}{limit}" + (", for its bandwidth" if grown else "")


def _throughput(judged: Judged, scenario: Scenario) -> str:
    performance = judged.candidate.performance
    own = min(scenario.link, performance.instance_rate, performance.origin_rate or inf)
    if performance.total_rate == inf:
        return f"{words.rate(own)} each, no known limit of all"
    full = max(1, floor(performance.total_rate / own + 0.05))
    return f"{words.rate(performance.total_rate)}, full at {words.count(full, 'instance')}"


def _compatibility(judged: Judged, scenario: Scenario) -> str:
    if judged.kind == "image":
        return "local files"
    if judged.kind == "nas":
        return "POSIX over NFS, symbolic links"
    if scenario.loader == "hoist":
        return "ranges by Hoist, or its mount"
    mean = scenario.size / scenario.files
    many = ": many small files, unfit" if mean < 1 << 20 and scenario.files > 100 else ": few large files, fit"
    return f"POSIX over FUSE{many}"


def _management(judged: Judged, scenario: Scenario) -> str:
    if judged.kind == "image":
        return f"{words.count(judged.cost.upkeep, 'rebuild')} a month"
    if judged.kind == "nas":
        where = "VPC" if scenario.platform == "function-compute" else "mounted"
        return f"{where}; {words.count(judged.cost.upkeep, 'copy')} a month".replace("copys", "copies")
    many = ", replicated to each region" if len(scenario.regions) > 1 else ""
    return f"API, console, tools{many}"


def _zones(judged: Judged, scenario: Scenario) -> str:
    return "one zone each" if judged.kind == "nas" else "all"


def _page_cache(judged: Judged, scenario: Scenario) -> str:
    if judged.candidate.performance.page_cache:
        return "yes"
    if scenario.loader == "hoist":
        return "Hoist's host cache"
    return "no: reads twice" if judged.candidate.performance.reads > 1 else "no"


def _cost(judged: Judged) -> str:
    split = judged.cost
    fixed, gpu = words.money(split.fixed + split.requests, split.currency), words.money(split.gpu, split.currency)
    return f"{fixed} + {gpu} of GPU a month"


def _in_time(advice: Advice, kind: str) -> str:
    most = advice.most_in_time.get(kind)
    if most is None:
        return "-"
    found = "not even one" if most == 0 else f"{most:,} at once" if most < 1 << 17 else "any number"
    return f"{found}; {advice.scenario.instances:,} as sized" if advice.sizings[kind].grown else found
