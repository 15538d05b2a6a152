"""What a change of one file costs in an image, what a second repository costs, and how much memory it all takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from hoist.bench.image_stage import CHANGED, DIRECTORY, ImageStage, four_files
from hoist.bench.image_tools import HOIST_PULL, HOIST_PUSH, LABEL, MODEL, Commands, Work, hoist
from hoist.bench.image_turns import OWN, RAW, Record, Turns, layers_of
from hoist.bench.relay import Relay
from hoist.errors import LocalError
from hoist.verbs import publish

# Memory is measured at the full size and at this part of it: it should not grow.
_SMALLER = 4
_RUNNABLE = "runnable"


def measure_update(turns: Turns) -> None:
    """Change one of four files in a runnable image in the registry, beside the raw upload of that file."""
    stage = turns.stage
    with stage.registry() as server:
        turns.programs(build(_runnable(stage, server.host)))
        base = stage.keep(server, "base")
    size = stage.changed_blob.size
    turns.take(
        "update",
        size,
        {
            OWN: ("hoist image update, one of four files changed", partial(_update, turns, base)),
            RAW: ("POST, PATCH and PUT of that file's layer", partial(_update_raw, turns, base)),
        },
    )
    with stage.registry(base) as server, Relay(server.host) as relay:
        turns.programs(_update_words(_runnable(stage, relay.host)))
        _note_passed(turns, "update bytes", "hoist image update", relay.passed(), size)


def _update(turns: Turns, base: Path) -> Record:
    stage = turns.stage
    with stage.registry(base) as server:
        work = _runnable(stage, server.host)
        before = layers_of(server, work)
        stage.warm(stage.home / DIRECTORY)
        figures = turns.own("update", f"oci://{work.image}", f"{DIRECTORY}//{MODEL}:{CHANGED}")
        kept = len(set(before) & set(layers_of(server, work)))
        if kept != len(before) - 2:
            # The changed file's, and the one of the documents.
            raise LocalError(f"the update kept {kept} of {len(before)} layers")
        return figures


def _update_raw(turns: Turns, base: Path) -> Record:
    stage = turns.stage
    with stage.registry(base) as server:
        blob = stage.changed_blob
        stage.warm(blob.path.parent)
        repository = _runnable(stage, server.host).repository
        blobs = [(str(blob.path), blob.digest, blob.size)]
        return turns.limit("push", host=server.host, repository=repository, blobs=blobs, depth=1)


def measure_second(turns: Turns) -> None:
    """Publish the same model to a second repository of a registry, and count what is sent."""
    stage = turns.stage
    with stage.registry() as server, Relay(server.host) as relay:
        turns.programs(HOIST_PUSH.commands(stage.work(relay.host)))
        before = relay.passed()
        figures = turns.programs(HOIST_PUSH.commands(stage.work(relay.host, "others")))
        passed = tuple(now - then for now, then in zip(relay.passed(), before, strict=True))
        _note_passed(turns, "second", HOIST_PUSH.about, (passed[0], passed[1]), stage.size, figures)


def measure_memory(turns: Turns) -> None:
    """The memory of building, pushing and pulling, at the full size and at a part of it."""
    stage = turns.stage
    smaller = stage.size // _SMALLER
    four_files(stage.home / "small", smaller)
    publish(stage.home / "small", f"{DIRECTORY}//{MODEL}:small", config=stage.config)
    for size, source, label in ((smaller, stage.home / "small", "small"), (stage.size, stage.files, LABEL)):
        # A registry for the build alone: a push would find its layers there, and send nothing.
        with stage.registry() as server:
            work = replace(stage.work(server.host, _RUNNABLE), source=source, label=label)
            _note_memory(turns, "build", build(work), size)
        with stage.registry() as server:
            work = replace(stage.work(server.host), source=source, label=label)
            _note_memory(turns, "push", HOIST_PUSH.commands(work), size)
            stage.target.mkdir()
            _note_memory(turns, "pull", HOIST_PULL.commands(work), size)
            stage.empty_target()


def _note_memory(turns: Turns, name: str, commands: Commands, size: int) -> None:
    base = {"work": "memory", "tool": OWN, "about": f"hoist {name}", "size": size, "of": name, "run": 0}
    turns.note({**base, **turns.programs(commands)})


def build(work: Work) -> Commands:
    """The command that builds a runnable image of a version in the directory storage."""
    model = f"{DIRECTORY}//{MODEL}:{work.label}"
    return [hoist("image", "build", "--base", "scratch", "--model", model, "--tag", f"oci://{work.image}", "--quiet")]


def _update_words(work: Work) -> Commands:
    return [hoist("image", "update", f"oci://{work.image}", "--model", f"{DIRECTORY}//{MODEL}:{CHANGED}", "--quiet")]


def _runnable(stage: ImageStage, host: str) -> Work:
    return stage.work(host, _RUNNABLE)


def _note_passed(
    turns: Turns, work: str, about: str, passed: tuple[int, int], size: int, figures: Mapping[str, object] | None = None
) -> None:
    counted = {"sent_bytes": passed[0], "received_bytes": passed[1]}
    turns.note({"work": work, "tool": OWN, "about": about, "size": size, "run": 0, **(figures or {}), **counted})
