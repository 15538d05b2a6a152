"""Tensors fetched one by one, in any order: each block of a file comes once, whatever tensors ask for it."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

import torch

from hoist.read.cache.fill import Want, deliver
from hoist.read.engine import Engine
from hoist.read.plan import plan_ranges
from hoist.read.source import Source
from hoist.tensors.index import TensorFile, TensorIndex
from hoist.tensors.load import shape_of, tensor_at
from hoist.tensors.place import Loading, Placed


class LazyTensors:
    """The tensors of an index in host memory, fetched when they are asked for. Close it when no more are.

    A file's tensors are views of one buffer of the file's size, of which only what was fetched takes memory; or of the
    file itself, mapped.
    """

    def __init__(self, index: TensorIndex, engine: Engine) -> None:
        self._index = index
        self._loading = Loading(engine, torch.device("cpu"))
        self._files: dict[int, _LazyFile] = {}
        self._lock = Lock()

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor. Raises DamagedBlock, InvalidFile, and what a storage may."""
        _, tensor = self._index.by_name[name]
        return self.part(name, [(0, tensor.end - tensor.begin)])

    def part(self, name: str, ranges: Iterable[tuple[int, int]]) -> torch.Tensor:
        """A tensor of which only the blocks that hold those of its bytes are sure to be there. Raises what `tensor` does."""
        file, tensor = self._index.by_name[name]
        shape_of(tensor)
        wanted = [(tensor.begin + begin, tensor.begin + end) for begin, end in ranges]
        return tensor_at(self._file(file).fetch(wanted), tensor.begin, tensor)

    def close(self) -> None:
        """Let the files go; the tensors stay."""
        for file in self._files.values():
            file.placed.close()

    def _file(self, file: TensorFile) -> _LazyFile:
        with self._lock:
            if id(file) not in self._files:
                self._files[id(file)] = _LazyFile(file.source, self._loading)
            return self._files[id(file)]


class _LazyFile:
    """One file's memory, and which of its blocks are there."""

    def __init__(self, source: Source, loading: Loading) -> None:
        self._engine = loading.engine
        self._lock = Lock()
        self.placed: Placed = loading.place_whole(source)
        ready = self.placed.mapped is not None and self.placed.mapped.ready
        self._here = bytearray([ready]) * len(source.blocks)

    def fetch(self, ranges: Iterable[tuple[int, int]]) -> torch.Tensor:
        """The file's memory, in which the blocks of those ranges are there and verified."""
        source = self.placed.source
        with self._lock:
            wanted = {index for begin, end in ranges for index in source.blocks.covering(begin, end)}
            missing = sorted(index for index in wanted if not self._here[index])
            if missing:
                spans = [source.blocks.span(index) for index in missing]
                plan = plan_ranges(source.blocks, spans, source.traits.request_bytes, in_place=True)
                deliver([Want(source, plan, self.placed.destination.sink)], self._engine)
                for index in missing:
                    self._here[index] = 1
                if self.placed.mapped and all(self._here):
                    self.placed.mapped.remember()
        return self.placed.flat
