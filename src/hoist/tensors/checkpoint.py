"""Loading zip checkpoints (`torch.save`'s format): code is never run, storages are fetched as planned ranges."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from hoist.errors import InvalidFile
from hoist.model.formats.archive import PICKLE_MAGIC, ZIP_MAGIC, data_range, read_archive
from hoist.read.file import RangeReader, VerifiedFile
from hoist.read.plan import Request
from hoist.read.sink import Sink
from hoist.storage.base import OnBytes
from hoist.tensors.device import torch_device, view_tensor
from hoist.tensors.dtypes import cast_dtype
from hoist.tensors.index import CHECKPOINT_SUFFIXES, Filenames, find_weights
from hoist.tensors.place import Loading
from hoist.tensors.rebuild import Outliner, Rebuilder
from hoist.tensors.unpickle import StorageRef, unpickle

_HEADER_BYTES = 30
_BYTE_ORDER = "byteorder"
_BYTE_ORDER_BYTES = 16
_DATA_ALIGNMENT = 64
Memory = Callable[[int, int], torch.Tensor]
Read = Callable[[int, int], bytes]


def load_checkpoint(
    path_or_location: str | Path,
    filename: Filenames = None,
    device: str | int | torch.device = "cpu",
    *,
    dtype: torch.dtype | str | None = None,
    on_bytes: OnBytes | None = None,
) -> Any:
    """Load a zip checkpoint, as `torch.load(weights_only=True)` would: containers of tensors, never code.

    The arguments are those of `load_file`; of several files, or the shards of an index (`.bin.index.json`), it gives the
    entries of all in one dict. Tensors that share a storage in the file share it in memory; on the CPU they
    are views of one buffer. A parameter is a parameter, a sparse tensor sparse, and so on, as with torch.

    Raises UnsafeCheckpoint, InvalidFile (with the command that converts a legacy file), and what `load_file` does.
    """
    place, cast = torch_device(device), cast_dtype(dtype)
    weights = find_weights(path_or_location, filename, CHECKPOINT_SUFFIXES)
    try:
        loading = Loading(weights.engine, place, cast, on_bytes)
        # All are read and checked before the first weight byte is asked for.
        checkpoints = [Checkpoint(RangeReader(source, weights.engine)) for source in weights.sources]
        return merged([(checkpoint.name, checkpoint.load(loading)) for checkpoint in checkpoints])
    finally:
        weights.close()


def merged(parts: Sequence[tuple[str, Any]]) -> Any:
    """What the one file holds; of several, the entries of all of them. Raises InvalidFile if two hold one entry."""
    if len(parts) == 1:
        return parts[0][1]
    found: dict[Any, Any] = {}
    holder: dict[Any, str] = {}
    for name, part in parts:
        if not isinstance(part, Mapping):
            raise InvalidFile(f"{name} holds no dict of tensors: load it by itself")
        for key, value in part.items():
            if key in found:
                raise InvalidFile(f"{key!r} is in both {holder[key]} and {name}: load them apart")
            found[key], holder[key] = value, name
    return found


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
        self.outline: Any = unpickle(self._pickle, Outliner(self._note), self.name)

    def load(self, loading: Loading) -> Any:
        """Fetch every storage and rebuild the object. Raises DamagedBlock, InvalidFile, and what a storage may."""
        spans = self.spans()
        headers = _Headers([begin for begin, _ in spans])
        (placed,) = loading.fetch([(self._reader.source, spans)], headers.before)

        def at(begin: int, end: int) -> torch.Tensor:
            return view_tensor(placed.flat, placed.plan.locate(begin, end), end - begin, torch.uint8, (end - begin,))

        def read(begin: int, end: int) -> bytes:
            seen = headers.seen.get(begin)
            return seen if seen is not None else self._reader.read(begin, end)

        return self.rebuild(at, read, loading.device, loading.dtype)

    def spans(self) -> list[tuple[int, int]]:
        """The ranges of the file that its tensors need, each a storage with what describes it."""
        return list(self._spans().values())

    def likely_data(self) -> list[tuple[int, int]]:
        """Where in their spans the storages' data should lie: what they are sure to lie in is read from the file only."""
        found = []
        for name, (_, limit) in self._spans().items():
            size = self._archive.entry(name).size
            # torch aligns data, and what it writes behind them is shorter than that.
            begin = (limit - size) // _DATA_ALIGNMENT * _DATA_ALIGNMENT
            found.append((begin, begin + size))
        return found

    def rebuild(self, at: Memory, read: Read, device: torch.device, dtype: torch.dtype | None = None) -> Any:
        """The object, over memory that holds its spans: `at` gives bytes of the file there, `read` reads them from it.

        Raises InvalidFile.
        """
        flats = {}
        for name, (_, limit) in self._spans().items():
            entry = self._archive.entry(name)
            begin, end = data_range(entry, read, self._reader.source.size)
            if end > limit:
                raise InvalidFile(f"{self.name}: lying zip checkpoint: entry {entry.name!r} runs into the next")
            flats[name] = at(begin, end) if end > begin else torch.empty(0, dtype=torch.uint8, device=device)
        self._refuse_other_byte_order(flats.pop(_BYTE_ORDER, None))
        storages = {name.removeprefix("data/"): flat for name, flat in flats.items()}
        return unpickle(self._pickle, Rebuilder(storages, device, dtype), self.name)

    def _note(self, storage: StorageRef) -> None:
        """The first pass over the pickle only learns which storages and tensors there are."""
        entry = self._archive.entry(f"data/{storage.key}")
        if entry.size != storage.size or self.storages.setdefault(storage.key, storage).size != storage.size:
            raise InvalidFile(f"{self.name}: lying checkpoint: storage {storage.key!r} has {entry.size} bytes")

    def _spans(self) -> dict[str, tuple[int, int]]:
        """Each storage entry's range, its local header included: from its header to the next entry's."""
        source_size = self._reader.source.size
        headers = sorted(entry.header for entry in self._archive.entries.values())
        after = dict(zip(headers, [*headers[1:], source_size], strict=True))
        names = [f"data/{key}" for key in self.storages]
        # It lies beside the first storage, in a block that is fetched anyway.
        names += [_BYTE_ORDER] if names and _BYTE_ORDER in self._archive.entries else []
        spans = {}
        for name in names:
            entry = self._archive.entry(name)
            longest = entry.header + _HEADER_BYTES + 2 * 65535 + entry.size
            spans[name] = (entry.header, min(after[entry.header], longest))
        return spans

    def _refuse_other_byte_order(self, flat: torch.Tensor | None) -> None:
        order = "little" if flat is None else bytes(flat[:_BYTE_ORDER_BYTES].cpu().tolist()).decode("latin-1")
        if order != "little":
            raise InvalidFile(
                f"{self.name} was saved on a {order!r}-endian machine: load it once with torch, and save it again"
            )

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

    def acquire(self, request: Request) -> memoryview | None:
        return self._sink.acquire(request)

    def commit(self, request: Request, view: memoryview) -> None:
        self._look(request, view)
        self._sink.commit(request, view)

    def release(self, view: memoryview) -> None:
        self._sink.release(view)
