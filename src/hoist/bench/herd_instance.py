"""One instance of a herd: a load by Hoist's own engine, verified, and what it took."""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hoist.bench.contents import touch
from hoist.bench.herd_task import Task
from hoist.bench.shared_rate import Shared, SharedRate
from hoist.config import say
from hoist.errors import UsageError
from hoist.read.connect import open_location
from hoist.storage.wrap import Counting
from hoist.tensors.index import read_index, weight_files
from hoist.tensors.load import Loader


def load(task: Task) -> dict[str, Any]:
    """Load it into memory; when that was done by the machine's monotonic clock, CPU seconds, and bytes read.

    Raises what a load may; UsageError for a version of several weight files.
    """
    say("start_jitter", f"{task.jitter:f}")
    before = resource.getrusage(resource.RUSAGE_SELF)
    with open_location(task.location) as plain:
        counting = Counting(plain.storage)
        shaped = Shared(counting, [SharedRate(Path(file), rate) for file, rate in task.rates])
        opened = replace(plain, storage=shaped if task.rates else counting)
        names = weight_files(opened, None, (".safetensors",))
        if len(names) != 1:
            raise UsageError(f"{opened.version} has {len(names)} weight files: a herd loads models of one")
        index = read_index([opened.source(names[0])], opened.engine)
        tensors = Loader(opened.engine, torch.device("cpu")).load(index, index.by_name)
        touch(tensors)
        done = time.monotonic()
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"done": done, "cpu_seconds": used, "bytes_read": sum(counting.bytes.values()), "tensors": len(tensors)}
