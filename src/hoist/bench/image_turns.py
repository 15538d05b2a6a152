"""The turns of an image comparison: who takes part, in which order, each in a process of its own, and what is noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hoist.bench.child import run_child
from hoist.bench.image_stage import ImageStage
from hoist.bench.image_tools import Commands, Tool, Work, layer_digests
from hoist.errors import HoistError, LocalError
from hoist.testing.servers import DockerRegistry

Record = dict[str, Any]
Turn = Callable[[], Record]
OWN, RAW = "hoist", "raw"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# What is slower than this has hung.
_LEAST_SECONDS, _LEAST_RATE = 90.0, 5e6


class Turns:
    """Runs the turns of one work after the other on a stage; what comes of each goes to `note`."""

    def __init__(
        self, stage: ImageStage, peers: Sequence[str], repeat: int, note: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.stage, self.note = stage, note
        self._peers, self._repeat = peers, repeat

    def take(self, work: str, size: int, turns: Mapping[str, tuple[str, Turn]]) -> None:
        """Each turn, given by the tool's name with what it is, as often as was asked for, the order rotating.

        A peer that fails is noted with the reason, and has no further turn; Hoist and the raw limit raise HoistError.
        """
        left = dict(turns)
        for run in range(self._repeat):
            names = list(left)
            first = run % len(names)
            for name in [*names[first:], *names[:first]]:
                about, turn = left[name]
                base = {"work": work, "tool": name, "about": about, "size": size}
                try:
                    self.note({**base, "run": run, **turn()})
                except HoistError as error:
                    if name == OWN or name.startswith(RAW):
                        raise
                    del left[name]
                    self.note({**base, "skipped": f"failed: {error}"})

    def installed(self, work: str, tools: Mapping[str, Tool]) -> list[Tool]:
        """Those of the wanted peers that do this work and are here; the others are noted with the reason."""
        found = []
        for tool in (tools[name] for name in self._peers if name in tools):
            reason = tool.unavailable()
            if reason is None:
                found.append(tool)
            else:
                self.note({"work": work, "tool": tool.name, "about": tool.about, "skipped": reason})
        return found

    def own(self, verb: str, first: str, second: str) -> Record:
        """One of Hoist's verbs in a process of its own: as `programs`, but what it imports comes before its time begins."""
        task = {"do": "own", "verb": verb, "words": [first, second], **self._common()}
        return _figures(run_child(task, self.stage.config.environ))

    def programs(self, commands: Commands) -> Record:
        """Run commands one after the other; seconds, CPU seconds, and the memory of the largest. Raises HoistError."""
        task = {"do": "programs", "commands": [list(words) for words in commands], **self._common()}
        return _figures(run_child(task, self.stage.config.environ))

    def limit(self, work: str, **task: Any) -> Record:
        """A raw limit of a registry, as `image_limits.run_limit` measures it."""
        return run_child({"do": "image-limit", "work": work, **self._common(), **task}, self.stage.config.environ)

    def _common(self) -> dict[str, Any]:
        """The most seconds that it may take, and the memory to have at hand before: for buffers and the page cache."""
        return {"within": _LEAST_SECONDS + self.stage.size / _LEAST_RATE, "ready": 2 * self.stage.size}


def _figures(found: Record) -> Record:
    return {name: found[name] for name in ("seconds", "cpu_seconds", "peak_bytes")}


def layers_of(server: DockerRegistry, work: Work) -> list[tuple[str, int]]:
    """The layers of an image in a registry: digests and sizes. Raises LocalError when it is not there."""
    answer = server.request("GET", f"/v2/{work.repository}/manifests/{work.label}", {"Accept": _MANIFEST})
    if answer.status != 200:
        raise LocalError(f"there is no image {work.image}: the registry answered {answer.status}")
    return layer_digests(answer.body)
