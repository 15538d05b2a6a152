"""Images compared: Hoist and container tools pushing, pulling, updating and reading the same model, beside the raw limits.

Each turn begins with a registry of its own where it pushes, and with an empty folder where it pulls; what is read is in
the page cache, and nothing waits to be written. The tools take turns in an order that rotates from run to run. How much
was sent is counted by a relay, in a run that is not timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hoist.bench.image_changes import measure_memory, measure_second, measure_update
from hoist.bench.image_load import measure_load
from hoist.bench.image_moves import measure_pull, measure_push
from hoist.bench.image_stage import set_image_stage
from hoist.bench.image_turns import Record, Turns
from hoist.bench.records import Recorder
from hoist.bench.works import check_works

WORKS: Mapping[str, Callable[[Turns], None]] = {
    "push": measure_push,
    "pull": measure_pull,
    "update": measure_update,
    "second": measure_second,
    "load": measure_load,
    "memory": measure_memory,
}


@dataclass(frozen=True, slots=True)
class Options:
    """Which works, the tools beside Hoist, how often; `scale` 1 is 1 GiB in four files, and 2 GiB in one to load.

    `folder` is where everything goes: on the disk that is measured.
    """

    works: Sequence[str] = tuple(WORKS)
    peers: Sequence[str] = ()
    repeat: int = 3
    scale: float = 1.0
    folder: Path | None = None


def run_images(
    options: Options,
    on_record: Callable[[Record], None] = lambda record: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Record]:
    """Measure; each record is also told to `on_record` as soon as it is there, each step to `say`.

    A tool that is not installed, fails or leaves something else than it should has a record that says so. Raises
    UsageError for a work that there is not, LocalError without a registry or room, and what Hoist's own commands say.
    """
    check_works(options.works, WORKS)
    recorder = Recorder(on_record)
    note = partial(recorder.note, "image")

    with set_image_stage(options.scale, options.folder, say) as stage:
        turns = Turns(stage, options.peers, options.repeat, note)
        for work in options.works:
            say(f"measuring: {work}")
            WORKS[work](turns)
    return recorder.records
