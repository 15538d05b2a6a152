"""A region is lost in the middle of a load: how long the rest takes from the other one, and what kind any costs otherwise.

Two regions are two rclone servers over one folder; one is killed, or frozen, once half of the bytes are there. Every load is
verified as any, and its tensors are compared with the file's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

from hoist.bench.image_files import write_bf16
from hoist.bench.records import Recorder
from hoist.bench.stage import bucket_table, isolated_config
from hoist.config import Config
from hoist.read.connect import open_location
from hoist.testing.servers import RcloneServer
from hoist.verbs import publish

if TYPE_CHECKING:
    import torch

Record = dict[str, Any]
_BUCKET, _NAME, _FILE = "models", "hoist-bench/failover", "model.safetensors"
WELL, KILLED, FROZEN = "well", "killed", "frozen"
_LOSSES = {KILLED: RcloneServer.kill, FROZEN: RcloneServer.freeze}


@dataclass(frozen=True, slots=True)
class Options:
    """Bytes of the model, runs, and where the temporary folder goes."""

    size: int = 2 << 30
    repeat: int = 3
    folder: Path | None = None


def run_failovers(options: Options, note: Callable[[Record], None]) -> list[Record]:
    """The records, in turns. Raises LocalError where there is no rclone."""
    recorder = Recorder(note)
    with TemporaryDirectory(prefix="hoist-bench-", dir=options.folder) as name:
        _Bench(Path(name), options, recorder).run()
    return recorder.records


class _Bench:
    def __init__(self, home: Path, options: Options, recorder: Recorder) -> None:
        self._home, self._options, self._recorder = home, options, recorder
        self._count = 0

    def run(self) -> None:
        source = write_bf16(self._home / "source" / _FILE, self._options.size, 0)
        with self._regions() as (config, _, plain, _any):
            publish(source.parent, f"{plain}//{_NAME}:v1", config=config)
        # What every run finds in memory, and on its connections, is as in a process of its own: the first is none of them.
        ways = (WELL, "plain", KILLED, FROZEN)
        self._one("plain", source)
        for run in range(self._options.repeat):
            for way in ways if run % 2 == 0 else ways[::-1]:
                values = self._one(way, source)
                lost = way if way in _LOSSES else ""
                named = {"run": run, "way": "plain" if way == "plain" else "any", "lost": lost, "regions": 2}
                self._recorder.note("failover", {**named, **values})

    def _one(self, way: str, source: Path) -> Record:
        with self._regions() as (config, first, plain, both):
            lose = partial(_LOSSES[way], first) if way in _LOSSES else None
            watch = _Watch(self._options.size, lose)
            before, began = time.process_time(), time.perf_counter()
            tensors = _load(f"{plain if way == 'plain' else both}//{_NAME}:v1", config, watch.on_bytes)
            ended = time.perf_counter()
            cpu = time.process_time() - before
            values: Record = {"size": self._options.size, "seconds": ended - began, "cpu_seconds": cpu}
            if watch.lost_at is not None:
                values |= {"left": watch.left, "rest_seconds": ended - watch.lost_at}
            return values | {"wrong_tensors": _wrong(tensors, source)}

    @contextmanager
    def _regions(self) -> Iterator[tuple[Config, RcloneServer, str, str]]:
        """Two servers, the first of them, and what they are called: the first alone, and both as one.

        The names are new ones each time, as what a process has learned of a storage is kept by its name.
        """
        self._count += 1
        first, second, both = (f"{name}-{self._count}" for name in ("eu", "us", "models"))
        with ExitStack() as stack:
            servers = [RcloneServer(self._home / "objects") for _ in range(2)]
            servers[1].access_key, servers[1].secret_key = servers[0].access_key, servers[0].secret_key
            lines = []
            for name, server in zip((first, second), servers, strict=True):
                stack.enter_context(server)
                server.create_bucket(_BUCKET)
                lines.append(bucket_table(name, server, _BUCKET))
            lines.append(f'[storage.{both}]\nkind = "any"\nmembers = ["{first}", "{second}"]\n')
            yield isolated_config(self._home, "\n".join(lines), servers[0]), servers[0], first, both


class _Watch:
    """Counts bytes, and calls `lose` once half of them are there."""

    def __init__(self, size: int, lose: Callable[[], None] | None) -> None:
        self._size, self._lose = size, lose
        self._lock = Lock()
        self._come = 0
        self.lost_at: float | None = None
        self.left = 0
        """Bytes that had not come when it was lost."""

    def on_bytes(self, count: int) -> None:
        with self._lock:
            self._come += count
            if self._lose is None or self.lost_at is not None or self._come < self._size // 2:
                return
            self._lose()
            self.lost_at, self.left = time.perf_counter(), self._size - self._come


def _load(location: str, config: Config, on_bytes: Callable[[int], None]) -> Mapping[str, torch.Tensor]:
    """As `hoist.load_file` does, by a configuration of its own."""
    import torch

    from hoist.tensors.index import read_index
    from hoist.tensors.load import Loader

    with open_location(location, config) as opened:
        index = read_index((opened.source(_FILE),), opened.engine)
        return Loader(opened.engine, torch.device("cpu"), None, on_bytes).load(index, index.select(None, None))


def _wrong(tensors: Mapping[str, torch.Tensor], source: Path) -> int:
    """How many tensors are not those of the file."""
    import torch
    from safetensors import safe_open

    with safe_open(source, "pt") as right:
        names = set(right.keys())
        same = sum(tensors[name].view(torch.int16).equal(right.get_tensor(name).view(torch.int16)) for name in tensors)
    return len(names | tensors.keys()) - same
