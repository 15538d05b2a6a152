"""Pushes and pulls of one image compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from hoist.bench.image_tools import HOIST_PULL, HOIST_PUSH, PULLERS, PUSHERS, Tool, Work
from hoist.bench.image_turns import RAW, Record, Turn, Turns, layers_of
from hoist.errors import LocalError
from hoist.testing.servers import DockerRegistry

# How many uploads or ranges at once the raw limit is measured with: the best counts.
_PUSH_DEPTHS, _PULL_DEPTHS = (1, 2, 4), (2, 4, 8)


def measure_push(turns: Turns) -> None:
    """Push the four files to an empty registry, each in its way."""
    found: dict[str, tuple[str, Turn]] = {}
    for tool in (HOIST_PUSH, *turns.installed("push", PUSHERS)):
        found[tool.name] = (tool.about, partial(_push, turns, tool))
    for depth in _PUSH_DEPTHS:
        about = f"POST, PATCH and PUT of each layer, {depth} at once"
        found[f"{RAW}-{depth}"] = (about, partial(_push_raw, turns, depth))
    turns.take("push", turns.stage.size, found)


def _push(turns: Turns, tool: Tool) -> Record:
    stage = turns.stage
    with stage.registry() as server:
        work = stage.work(server.host)
        stage.warm(stage.files if tool is HOIST_PUSH else stage.layout)
        if tool is HOIST_PUSH:
            figures = turns.own("publish", str(work.source), work.location)
        else:
            figures = turns.programs(tool.commands(work))
        layers = layers_of(server, work)
        if len(layers) < len(stage.layers):
            raise LocalError(f"{tool.name} left an image of {len(layers)} layers")
        # A tool that compresses sends fewer bytes.
        return {**figures, "layer_bytes": sum(size for _, size in layers)}


def _push_raw(turns: Turns, depth: int) -> Record:
    stage = turns.stage
    with stage.registry() as server:
        stage.warm(stage.layout)
        blobs = [(str(blob.path), blob.digest, blob.size) for blob in stage.layers]
        repository = stage.work(server.host).repository
        return turns.limit("push", host=server.host, repository=repository, blobs=blobs, depth=depth)


def measure_pull(turns: Turns) -> None:
    """Pull what Hoist has pushed to files in an empty folder, each in its way."""
    stage = turns.stage
    with stage.registry() as server:
        work = stage.work(server.host)
        turns.programs(HOIST_PUSH.commands(work))
        layers = layers_of(server, work)
        work = replace(work, layers=[name for name, _ in layers], podman=stage.podman.words)
        urls = [(f"{server.endpoint}/v2/{work.repository}/blobs/{name}", size) for name, size in layers]
        check = Sound(stage.files)
        found: dict[str, tuple[str, Turn]] = {}
        for tool in (HOIST_PULL, *turns.installed("pull", PULLERS)):
            about = f"{tool.about}, {stage.podman.driver}" if tool.name == "podman" else tool.about
            found[tool.name] = (about, _into_empty(turns, server, partial(_pull, turns, tool, work, check)))
        for depth in _PULL_DEPTHS:
            about = f"ranged GETs of the layers, written to files, {depth} at once"
            task = partial(turns.limit, "pull", urls=urls, folder=str(work.target / "raw"), depth=depth)
            found[f"{RAW}-{depth}"] = (about, _into_empty(turns, server, task))
        turns.take("pull", stage.size, found)


def _into_empty(turns: Turns, server: DockerRegistry, turn: Turn) -> Turn:
    """The turn with an empty folder to pull to, a server that has all in the page cache, and a disk at rest."""

    def prepared() -> Record:
        stage = turns.stage
        stage.warm(server.data_folder)
        stage.target.mkdir()
        os.sync()
        try:
            return turn()
        finally:
            stage.empty_target()

    return prepared


def _pull(turns: Turns, tool: Tool, work: Work, check: Callable[[str, Path], None]) -> Record:
    podman = turns.stage.podman
    try:
        if tool is HOIST_PULL:
            figures = turns.own("pull", work.location, str(work.target / "unpacked"))
        else:
            figures = turns.programs(tool.commands(work))
        check(tool.name, podman.root if tool.name == "podman" else work.target)
        return figures
    finally:
        podman.clear()


class Sound:
    """Looks at what a tool has left, byte by byte, the first time that it is asked of it."""

    def __init__(self, files: Path) -> None:
        self._digests: Mapping[str, str] = {path.name: _sha256(path) for path in files.iterdir()}
        self._sound: set[str] = set()

    def __call__(self, tool: str, folder: Path) -> None:
        """Raises LocalError unless each of the files lies somewhere below `folder`, whole."""
        if tool in self._sound:
            return
        for name, digest in self._digests.items():
            if not any(_sha256(path) == digest for path in folder.rglob(name)):
                raise LocalError(f"{tool} did not bring {name}, or not as it was")
        self._sound.add(tool)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
