"""The tensors of weight files one after the other, in the order of their bytes, in bounded memory: for who copies each
into a place of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from hoist.model.formats.safetensors import TensorInfo
from hoist.storage.base import OnBytes
from hoist.tensors.device import torch_device
from hoist.tensors.index import Filenames, TensorFile, TensorIndex, find_weights, read_index
from hoist.tensors.load import Loader
from hoist.tensors.safetensors import SUFFIXES

BATCH_BYTES = 256 << 20
Batch = tuple[TensorFile, list[TensorInfo]]


def stream_tensors(
    path_or_location: str | Path,
    filename: Filenames = None,
    device: str | int | torch.device = "cpu",
    *,
    batch_bytes: int = BATCH_BYTES,
    on_bytes: OnBytes | None = None,
) -> Generator[tuple[str, torch.Tensor]]:
    """The names and tensors that `hoist.load_file` gives, file by file and in the order of their bytes.

    While one batch is used the next is fetched and verified, so that both overlap. Memory: two batches of `batch_bytes`
    (or two tensors, where those are larger); a file of this host that can be mapped is one batch, and takes none. Close
    the generator to stop early. Raises what `hoist.load_file` does.
    """
    place = torch_device(device)
    if place == torch.device("cuda"):
        # The current device is each thread's own.
        place = torch.device("cuda", torch.cuda.current_device())
    weights = find_weights(path_or_location, filename, SUFFIXES)
    try:
        index = read_index(weights.sources, weights.engine)
        index.by_name  # noqa: B018 raises now, if two files hold one name
        yield from _load_ahead(Loader(weights.engine, place, None, on_bytes), index, batch_bytes)
    finally:
        weights.close()


def _load_ahead(loader: Loader, index: TensorIndex, batch_bytes: int) -> Iterator[tuple[str, torch.Tensor]]:
    batches = iter([batch for file in index.files for batch in _batches(file, batch_bytes, loader.device)])

    with ThreadPoolExecutor(1, "hoist-ahead") as ahead:

        def begin() -> Future[list[dict[str, torch.Tensor]]] | None:
            batch = next(batches, None)
            return ahead.submit(loader.load_each, [batch]) if batch else None

        coming = begin()
        while coming is not None:
            (tensors,) = coming.result()
            coming = begin()
            while tensors:
                # Not kept here: a batch's memory is free once its last tensor is.
                name = next(iter(tensors))
                yield name, tensors.pop(name)


def _batches(file: TensorFile, batch_bytes: int, device: torch.device) -> Iterator[Batch]:
    tensors = sorted(file.header.tensors, key=lambda tensor: tensor.begin)
    if device.type == "cpu" and not file.source.cache and file.source.local_path():
        # Mapped and remembered as verified only as a whole.
        batch_bytes = file.source.size
    batch: list[TensorInfo] = []
    for tensor in tensors:
        if batch and tensor.end - batch[0].begin > batch_bytes:
            yield file, batch
            batch = []
        batch.append(tensor)
    if batch:
        yield file, batch
