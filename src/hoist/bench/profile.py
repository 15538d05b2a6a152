"""The profile of a load: where each CPU second goes, by the engine's own stages and by what the processor was doing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hoist.bench.child import run_child
from hoist.bench.comparison import markdown_table
from hoist.bench.load import COLD, WARM, read_through
from hoist.bench.machine import machine_facts
from hoist.bench.peers import HOIST
from hoist.bench.samples import Sampled, perf_unavailable, read_samples, record_words
from hoist.bench.stages import ABOUT, MAIN
from hoist.bench.subjects import find_subject, peers_environ
from hoist.bench.table import GIB
from hoist.config import Config
from hoist.pagecache import drop

_MOST_SYMBOLS = 25
# C++ names can fill a page.
_SYMBOL_WIDTH = 60
_HEADINGS = ("stage", "user s", "kernel s", "share", "CPU s/GiB", "page faults", "calls", "what")


@dataclass(frozen=True)
class Profile:
    """One load's CPU: `stages` by name with `user`, `system`, `faults`, `calls`; `sampled` if perf could record."""

    location: str
    size: int
    state: str
    seconds: float
    cpu_seconds: float
    import_cpu_seconds: float
    stages: Mapping[str, Mapping[str, float]]
    sampled: Sampled | None
    no_samples: str | None


def profile_load(location: str, config: Config, state: str = COLD) -> Profile:
    """Load once with the stages' clocks, once under perf. `state` says what the page cache holds of a local file.

    Raises what opening the version and loading may.
    """
    with tempfile.TemporaryDirectory(prefix="hoist-profile-") as name:
        home = Path(name)
        subject = find_subject(location, config, home)
        environ = {**peers_environ(config.environ, subject.bucket), "XDG_CACHE_HOME": str(home / "cache")}
        task = {"do": "profile", "loader": HOIST.name, "subject": subject.to_json()}

        def prepare(number: int) -> None:
            if subject.path and state == WARM:
                read_through(Path(subject.path))
                # The load before the measured one verifies, and is remembered.
                run_child({**task, "do": "load"}, environ)
            elif subject.path:
                drop([Path(subject.path)])
                environ["XDG_CACHE_HOME"] = str(home / f"cache-{number}")

        prepare(1)
        answer = run_child(task, environ)
        reason, sampled = perf_unavailable(), None
        if reason is None:
            prepare(2)
            sampled = _sample(task, environ, home)
        return Profile(
            location, subject.size, state if subject.path else "remote", answer["seconds"], answer["cpu_seconds"],
            answer["import_cpu_seconds"], _with_rest(answer), sampled, reason,
        )  # fmt: skip


def _sample(task: Mapping[str, Any], environ: Mapping[str, str], home: Path) -> Sampled:
    control, data = home / "control", home / "perf.data"
    os.mkfifo(control)
    # Open at both ends, so that neither perf nor the load waits for the other to open it.
    pipe = os.open(control, os.O_RDWR)
    try:
        run_child({**task, "do": "load", "control": str(control)}, environ, record_words(data, control))
    finally:
        os.close(pipe)
    return read_samples(data)


def _with_rest(answer: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The stages, and what the main thread spent outside them."""
    stages = dict(answer["stages"])
    rest: dict[str, float] = {"calls": 1}
    for mode in ("user", "system"):
        rest[mode] = max(0.0, answer[mode] - sum(stage[mode] for stage in stages.values()))
    rest["faults"] = max(0, answer["faults"] - sum(stage["faults"] for stage in stages.values()))
    return {**stages, MAIN: rest}


def profile_markdown(profile: Profile) -> list[str]:
    """The profile as Markdown."""
    gib = profile.size / GIB
    machine = machine_facts()
    lines = [
        f"## {profile.location}, {gib:.2f} GiB, {profile.state}",
        "",
        f"{profile.seconds:.2f} s, {profile.cpu_seconds:.2f} CPU s, {profile.cpu_seconds / gib:.2f} CPU s per GiB; "
        f"importing Python, torch and Hoist before it took {profile.import_cpu_seconds:.2f} CPU s, once a process.",
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}.",
        "",
        "By stage, by the threads' own CPU clocks:",
        "",
        *markdown_table(_HEADINGS, _stages(profile)),
        "",
    ]
    if profile.sampled is None:
        return [*lines, f"Not sampled: {profile.no_samples}."]
    return lines + _sampled(profile.sampled, profile.cpu_seconds / gib)


def _stages(profile: Profile) -> list[list[str]]:
    gib = profile.size / GIB
    rows = []
    for name in [name for name in ABOUT if name in profile.stages]:
        stage = profile.stages[name]
        used = stage["user"] + stage["system"]
        row = [name, f"{stage['user']:.3f}", f"{stage['system']:.3f}", f"{used / max(profile.cpu_seconds, 1e-9):.0%}"]
        row += [f"{used / gib:.3f}", f"{stage['faults']:,.0f}", f"{stage['calls']:,.0f}", ABOUT[name]]
        rows.append(row)
    return rows


def _sampled(sampled: Sampled, cpu_per_gib: float) -> list[str]:
    total = max(1, sampled.total)
    kinds = [
        [name, f"{count / total:.1%}", f"{cpu_per_gib * count / total:.3f}"]
        for name, count in sampled.categories.most_common()
    ]
    symbols = [
        [f"`{symbol[:_SYMBOL_WIDTH]}`", f"{count / total:.1%}", file]
        for (symbol, file), count in sampled.symbols.most_common(_MOST_SYMBOLS)
    ]
    return [
        f"By what the processor was doing, from {sampled.total:,} samples of perf in a second load (the touching included):",
        "",
        *markdown_table(("what", "share", "CPU s/GiB"), kinds),
        "",
        *markdown_table(("function", "share", "in"), symbols),
    ]
