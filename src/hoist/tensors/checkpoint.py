"""Loading zip checkpoints (`torch.save`'s format): code is never run, storages are fetched as planned ranges."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from hoist.errors import InvalidFile
from hoist.model.formats.archive import PICKLE_MAGIC, ZIP_MAGIC, Entry, data_range, read_archive
from hoist.read.file import RangeReader, VerifiedFile
from hoist.read.plan import Request
from hoist.read.sink import Sink
from hoist.storage.base import OnBytes
from hoist.tensors.device import torch_device, view_tensor
from hoist.tensors.dtypes import cast_dtype
from hoist.tensors.index import CHECKPOINT_SUFFIXES, find_weights
from hoist.tensors.place import Loading, Placed
from hoist.tensors.unpickle import StorageRef, unpickle

_HEADER_BYTES = 30


def load_checkpoint(
    path_or_location: str | Path,
    filename: str | None = None,
    device: str | int | torch.device = "cpu",
    *,
    dtype: torch.dtype | str | None = None,
    on_bytes: OnBytes | None = None,
) -> Any:
    """Load a zip checkpoint, as `torch.load(weights_only=True)` would: containers of tensors, never code.

    The arguments are those of `load_file`. Tensors that share a storage in the file share it in memory; on the CPU they
    are views of one buffer.

    Raises UnsafeCheckpoint, InvalidFile (with the command that converts a legacy file), and what `load_file` does.
    """
    place, cast = torch_device(device), cast_dtype(dtype)
    weights = find_weights(path_or_location, filename, CHECKPOINT_SUFFIXES)
    try:
        (source,) = weights.sources
        checkpoint = Checkpoint(RangeReader(source, weights.engine))
        return checkpoint.load(Loading(weights.engine, place, cast, on_bytes))
    finally:
        weights.close()


@dataclass(frozen=True, slots=True)
class TensorOutline:
    """What a checkpoint says of a tensor, without its bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


class Checkpoint:
    """A checkpoint's directory and pickle, read and checked; its tensors' bytes are still in the storage.

    `outline` is the object it describes, with TensorOutlines in the tensors' places.

    Raises InvalidFile, UnsafeCheckpoint.
    """

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader
        self.name = reader.source.name
        self._refuse_legacy()
        try:
            self._archive = read_archive(BufferedReader(VerifiedFile(reader), 1 << 20), reader.source.size)
            begin, end = data_range(self._archive.entry("data.pkl"), reader.read, reader.source.size)
        except InvalidFile as error:
            raise InvalidFile(f"{self.name}: {error}") from None
        self._pickle = reader.read(begin, end)
        self.storages: dict[str, StorageRef] = {}
        self.outline: Any = unpickle(self._pickle, self._note, self.name)

    def load(self, loading: Loading) -> Any:
        """Fetch every storage and rebuild the object. Raises DamagedBlock, InvalidFile, and what a storage may."""
        spans = self._spans()
        headers = _Headers([begin for begin, _ in spans.values()])
        (placed,) = loading.fetch([(self._reader.source, list(spans.values()))], headers.before)
        flats = {key: self._flat(key, limit, placed, headers) for key, (_, limit) in spans.items()}
        return unpickle(self._pickle, _rebuilder(flats, loading.device, loading.dtype), self.name)

    def _note(
        self, storage: StorageRef, dtype: torch.dtype, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
    ) -> TensorOutline:
        """The first pass over the pickle only learns which storages and tensors there are."""
        entry = self._archive.entry(f"data/{storage.key}")
        if entry.size != storage.size or self.storages.setdefault(storage.key, storage).size != storage.size:
            raise InvalidFile(f"{self.name}: lying checkpoint: storage {storage.key!r} has {entry.size} bytes")
        return TensorOutline(dtype, size)

    def _spans(self) -> dict[str, tuple[int, int]]:
        """Each storage's range, its local header included: from its header to the next entry's."""
        source_size = self._reader.source.size
        headers = sorted(entry.header for entry in self._archive.entries.values())
        after = dict(zip(headers, [*headers[1:], source_size], strict=True))
        spans = {}
        for key in self.storages:
            entry = self._archive.entry(f"data/{key}")
            longest = entry.header + _HEADER_BYTES + 2 * 65535 + entry.size
            spans[key] = (entry.header, min(after[entry.header], longest))
        return spans

    def _flat(self, key: str, limit: int, placed: Placed, headers: _Headers) -> torch.Tensor:
        entry = self._archive.entry(f"data/{key}")
        begin, end = self._data_range(entry, headers)
        if end > limit:
            raise InvalidFile(f"{self.name}: lying zip checkpoint: entry {entry.name!r} runs into the next")
        at = placed.plan.locate(begin, end)
        return view_tensor(placed.flat, at, end - begin, torch.uint8, (end - begin,))

    def _data_range(self, entry: Entry, headers: _Headers) -> tuple[int, int]:
        def read(begin: int, end: int) -> bytes:
            seen = headers.seen.get(begin)
            return seen if seen is not None else self._reader.read(begin, end)

        return data_range(entry, read, self._reader.source.size)

    def _refuse_legacy(self) -> None:
        magic = self._reader.read(0, len(ZIP_MAGIC))
        if magic == ZIP_MAGIC:
            return
        if magic[:1] == PICKLE_MAGIC:
            raise InvalidFile(
                f"{self.name} is a legacy checkpoint (a bare pickle, from before torch 1.6): convert it once with "
                'python -c \'import torch; torch.save(torch.load("OLD", weights_only=True), "NEW")\''
            )
        raise InvalidFile(f"{self.name} is not a torch checkpoint: it is no zip archive")


class _Headers:
    """The local zip headers at `positions`, kept as they go by, wherever the bytes end up."""

    def __init__(self, positions: list[int]) -> None:
        self._positions = sorted(positions)
        self.seen: dict[int, bytes] = {}

    def before(self, sink: Sink) -> Sink:
        """A sink that looks, and passes everything on to `sink`."""
        return _Peeking(sink, self._look)

    def _look(self, request: Request, view: memoryview) -> None:
        first = bisect_left(self._positions, request.begin)
        last = bisect_left(self._positions, request.end - _HEADER_BYTES + 1)
        for position in self._positions[first:last]:
            at = position - request.begin
            self.seen[position] = bytes(view[at : at + _HEADER_BYTES])


class _Peeking:
    def __init__(self, sink: Sink, look: Callable[[Request, memoryview], None]) -> None:
        self._sink = sink
        self._look = look

    def acquire(self, request: Request) -> memoryview:
        return self._sink.acquire(request)

    def commit(self, request: Request, view: memoryview) -> None:
        self._look(request, view)
        self._sink.commit(request, view)

    def release(self, view: memoryview) -> None:
        self._sink.release(view)


def _rebuilder(
    flats: dict[str, torch.Tensor], device: torch.device, cast: torch.dtype | None
) -> Callable[..., torch.Tensor]:
    aligned: dict[tuple[str, torch.dtype], torch.Tensor] = {}

    def rebuild(
        storage: StorageRef, dtype: torch.dtype, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
    ) -> torch.Tensor:
        if 0 in size:
            kept = cast if cast and dtype.is_floating_point else dtype
            return torch.empty_strided(size, stride, dtype=kept, device=device)
        flat = flats[storage.key]
        if (storage.key, dtype) not in aligned:
            count = flat.numel() // dtype.itemsize * dtype.itemsize
            aligned[storage.key, dtype] = view_tensor(flat, 0, count, dtype, (count // dtype.itemsize,))
        typed = aligned[storage.key, dtype]
        found = typed.as_strided(size, stride, typed.storage_offset() + offset)
        return found.to(cast) if cast and dtype.is_floating_point else found

    return rebuild
