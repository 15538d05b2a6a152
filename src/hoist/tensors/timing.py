"""One load, timed by phase: by calling the loaders' own lower functions and standing between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoist.errors import UsageError
from hoist.progress import Progress
from hoist.read.file import RangeReader
from hoist.tensors.counted import Wanted, file_name, open_counted
from hoist.tensors.index import CHECKPOINT_SUFFIXES, Weights, read_index

if TYPE_CHECKING:
    from hoist.tensors.index import TensorIndex
    from hoist.tensors.load import Loader


@dataclass(frozen=True, slots=True)
class Step:
    """A phase, or a part of one: from `begin` to `end`, in seconds from the load's beginning."""

    phase: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds by phase, all together, and of CPU (all threads). What no phase claims is `deserialize`.

    `began` is in Unix seconds; `steps` are the phases as they came, without gaps.
    """

    network_seconds: float
    fetch_verify_seconds: float
    transfer_seconds: float
    deserialize_seconds: float
    seconds: float
    cpu_seconds: float
    began: float
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One load: its files, tensors and their bytes, what was read for it, and the time.

    `version` is the manifest's digest and `storage_kind` its storage's; both are empty for a local path.
    """

    files: tuple[str, ...]
    format: str
    verified: bool
    tensors: int
    size: int
    read_bytes: int
    requests: int
    timed: Timed
    version: str = ""
    storage_kind: str = ""


def import_torch(device: str) -> float:
    """Import torch and the loaders, make the device ready; the seconds it took."""
    began = time.perf_counter()
    import torch

    import hoist.tensors.checkpoint  # noqa: F401 with what it imports, this is all a load needs
    from hoist.tensors.device import torch_device

    place = torch_device(device)
    if place.type == "cuda":
        torch.empty(1, device=place)
    return time.perf_counter() - began


def peak_memory_bytes() -> int:
    """The most memory that this process has had resident."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def load_timed(wanted: Wanted, progress: Progress) -> Loaded:
    """Load once. Raises what `hoist.load_file` and `hoist.load_checkpoint` do."""
    return load_and_time(wanted, progress)[1]


def load_and_time(wanted: Wanted, progress: Progress) -> tuple[Any, Loaded]:
    """Load once: what was loaded (with `each`, by file name), and its figures. Raises what `load_timed` does."""
    asked, began, cpu_began = time.time(), time.perf_counter(), time.process_time()
    weights, meter = open_counted(wanted)
    try:
        formats = {source.name.endswith(CHECKPOINT_SUFFIXES) for source in weights.sources}
        if len(formats) > 1:
            raise UsageError("safetensors files and checkpoints are of two kinds: load them apart")
        checkpoint = formats == {True}
        prepare = _prepare_checkpoint if checkpoint else _prepare_safetensors
        watch = _Watch()
        load, planned_bytes = prepare(weights, wanted, watch, progress)
        opened_at = time.perf_counter()
        progress.begin(f"loading {wanted.place}", planned_bytes)
        value = load()
        progress.end()
    finally:
        weights.close()
    ended = time.perf_counter()
    rest = ended - opened_at - watch.seconds.get("fetch", 0.0) - watch.seconds.get("transfer", 0.0)
    timed = Timed(
        network_seconds=opened_at - began,
        fetch_verify_seconds=watch.seconds.get("fetch", 0.0),
        transfer_seconds=watch.seconds.get("transfer", 0.0),
        deserialize_seconds=max(0.0, rest),
        seconds=ended - began,
        cpu_seconds=time.process_time() - cpu_began,
        began=asked,
        steps=(Step("network", 0.0, opened_at - began), *watch.steps(opened_at, ended, began)),
    )
    tensors, size = _count(value)
    return value, Loaded(
        files=tuple(file_name(source, weights) for source in weights.sources),
        format="checkpoint" if checkpoint else "safetensors",
        verified=weights.opened is not None,
        tensors=tensors,
        size=size,
        read_bytes=meter.bytes(),
        requests=meter.requests(),
        timed=timed,
        version=weights.opened.manifest.digest if weights.opened else "",
        storage_kind=weights.opened.storage.kind if weights.opened else "",
    )


class _Watch:
    """Adds up the phases that a loader says it begins, and notes when."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._begun = [("", time.perf_counter())]

    def begin(self, phase: str) -> None:
        now = time.perf_counter()
        before, since = self._begun[-1]
        self.seconds[before] = self.seconds.get(before, 0.0) + now - since
        self._begun.append((phase, now))

    def steps(self, begin: float, end: float, zero: float) -> Iterator[Step]:
        """The phases between two times, counted from `zero`; what none claims is `deserialize`."""
        ends = [*(since for _, since in self._begun[1:]), end]
        for (phase, since), until in zip(self._begun, ends, strict=True):
            if until > max(since, begin):
                yield Step(phase or "deserialize", max(since, begin) - zero, until - zero)


_Load = Callable[[], Any]
"""Does the load; what it gives."""


def _prepare_safetensors(weights: Weights, wanted: Wanted, watch: _Watch, progress: Progress) -> tuple[_Load, int]:
    from hoist.tensors.device import torch_device
    from hoist.tensors.dtypes import cast_dtype
    from hoist.tensors.load import Loader

    place, cast = torch_device(wanted.device), cast_dtype(wanted.dtype)
    index = read_index(weights.sources, weights.engine)
    if wanted.each:
        return _prepare_each(weights, index, Loader(weights.engine, place, cast, progress.advance, watch.begin))
    names = index.select(None, wanted.prefix)
    loader = Loader(weights.engine, place, cast, progress.advance, watch.begin)

    return lambda: loader.load(index, names), sum(
        index.by_name[name][1].end - index.by_name[name][1].begin for name in names
    )


def _prepare_each(weights: Weights, index: TensorIndex, loader: Loader) -> tuple[_Load, int]:
    wanted = [(file, list(file.header.tensors)) for file in index.files]
    names = [file_name(source, weights) for source in weights.sources]
    size = sum(tensor.end - tensor.begin for _, tensors in wanted for tensor in tensors)
    return lambda: dict(zip(names, loader.load_each(wanted), strict=True)), size


def _prepare_checkpoint(weights: Weights, wanted: Wanted, watch: _Watch, progress: Progress) -> tuple[_Load, int]:
    from hoist.tensors.checkpoint import Checkpoint, merged
    from hoist.tensors.device import torch_device
    from hoist.tensors.dtypes import cast_dtype
    from hoist.tensors.place import Loading

    if wanted.prefix is not None:
        raise UsageError("--prefix works with safetensors; a checkpoint is loaded whole")
    place, cast = torch_device(wanted.device), cast_dtype(wanted.dtype)
    checkpoints = [Checkpoint(RangeReader(source, weights.engine)) for source in weights.sources]

    def load() -> Any:
        loading = Loading(weights.engine, place, cast, progress.advance, watch.begin)
        parts = [(checkpoint.name, checkpoint.load(loading)) for checkpoint in checkpoints]
        if wanted.each:
            return dict(
                zip((file_name(source, weights) for source in weights.sources), (p for _, p in parts), strict=True)
            )
        return merged(parts)

    return load, sum(storage.size for checkpoint in checkpoints for storage in checkpoint.storages.values())


def _count(value: Any) -> tuple[int, int]:
    """How many tensors there are in nested containers, and their bytes."""
    import torch

    tensors = size = 0
    waiting, seen = [value], {id(value)}
    while waiting:
        each = waiting.pop()
        if isinstance(each, torch.Tensor):
            tensors, size = tensors + 1, size + _size(each)
            continue
        items = each.values() if isinstance(each, dict) else each if isinstance(each, list | tuple) else ()
        # A container may hold itself, or one other many times: each counts once. Every tensor that it holds counts.
        new = [item for item in items if isinstance(item, torch.Tensor) or id(item) not in seen]
        seen.update(map(id, new))
        waiting += new
    return tensors, size


def _size(tensor: Any) -> int:
    """A tensor's bytes; of a sparse one, which has no such number, those of its values."""
    import torch

    if tensor.layout == torch.strided:
        return int(tensor.nbytes)
    return int((tensor._values() if tensor.layout == torch.sparse_coo else tensor.values()).nbytes)
