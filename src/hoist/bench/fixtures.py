"""The ten checkpoints of the model-switch experiment, rebuilt with random weights at any width scale.

Names, shapes, dtypes and file sizes are those of the real files; the values are seeded noise, so that no licence
and no download stands between a person and the measurement. A build is the same bytes on every machine with the
same numpy. Fine-tunes of one family share the bytes of their VAE, text encoders and schedules where the dtype is
equal, as most real ones do, and have a UNet of their own.

What is known and what is chosen: the sizes of the uniform files (all fp32, all fp16, and cetusMix's mix) follow
from their dtypes alone. Of the three files marked `composition_chosen` only the listed size is known; their mix of
dtypes and averaged weights is CHOSEN to fit that size and says nothing about the real file's content.
"""

import contextlib
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from hoist.bench.layouts import Component, Family, TensorSpec, components
from hoist.storage.base import OnBytes

Dtype = Literal["I64", "F32", "I32", "F16"]

GIB = 1 << 30
# In the order in which safetensors' own serializer writes dtypes: widest alignment first.
DTYPES: dict[Dtype, type[np.generic]] = {"I64": np.int64, "F32": np.float32, "I32": np.int32, "F16": np.float16}
SPREAD = 0.02
BLOCK_ELEMENTS = 1 << 18
POOL_ELEMENTS = 1 << 22
# How many low mantissa bits a block's own noise replaces, of fp32's 23 and of fp16's 10.
NOISE_BITS = {"F32": 16, "F16": 8}
# torch.save aligns each tensor to 64 bytes and adds its zip headers and its entry in the pickle.
ZIP_OVERHEAD_PER_TENSOR = 336


@dataclass(frozen=True)
class Part:
    """One component of a fixture, and the dtype of its floating-point tensors.

    `fit` spends what the other parts leave of the listed size, tensor by tensor in state-dict order, skipping those
    too large for the rest: "take" keeps only the tensors that still fit, "cast" turns tensors to F16 until the file
    is small enough.
    """

    component: Component
    dtype: Dtype
    fit: Literal["take", "cast"] | None = None


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as one fixture stores it. `seed` decides its values: equal seed, shape and dtype, equal bytes."""

    spec: TensorSpec
    dtype: Dtype
    seed: str

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.spec.count * np.dtype(DTYPES[self.dtype]).itemsize


@dataclass(frozen=True)
class Fixture:
    """One checkpoint of the experiment: its file, its place in Hoist (`model:version`) and what it is made of."""

    file_name: str
    listed_gib: float
    model: str
    version: str
    family: Family
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def composition_chosen(self) -> bool:
        """Whether the mix of parts was chosen to fit the listed size, the real one being unknown."""
        return any(part.fit for part in self.parts)

    def tensors(self, scale: float = 1.0) -> tuple[StoredTensor, ...]:
        """What the file holds at a scale, in state-dict order. Raises ValueError unless 0 < scale <= 1."""
        return _tensors(self, scale)

    def size_at(self, scale: float = 1.0) -> int:
        """The file's size in bytes at a scale, computed without writing.

        Exact for safetensors; for a `.ckpt` within 0.2 %, since torch decides its zip's framing.
        """
        tensors = self.tensors(scale)
        if self.file_name.endswith(".ckpt"):
            return sum(tensor.nbytes + ZIP_OVERHEAD_PER_TENSOR for tensor in tensors)
        return len(_header(_in_file_order(tensors))) + sum(tensor.nbytes for tensor in tensors)


def _uniform(dtype: Dtype, *names: Component) -> tuple[Part, ...]:
    return tuple(Part(name, dtype) for name in names)


_FP32 = _uniform("F32", "schedule", "unet", "vae", "clip_l")
_FP16 = _uniform("F16", "schedule", "unet", "vae", "clip_l")
_CETUS = (*_uniform("F32", "schedule", "unet"), *_uniform("F16", "vae", "clip_l"))
# 0.02 GiB less than all fp32: as if a merge had left the UNet's first tensors in fp16.
_COUNTERFEIT = (*_uniform("F32", "schedule", "vae", "clip_l"), Part("unet", "F32", "cast"))
# More than all fp32, less than with all averaged weights: as if pruning had stopped on the way.
_PART_EMA = (*_FP32, Part("ema", "F16", "take"))
_SDXL = _uniform("F16", "unet", "clip_l", "clip_g", "vae")

FIXTURES: tuple[Fixture, ...] = (
    Fixture("Anything-v4.5-pruned-mergedVae.safetensors", 3.97, "sd15/anything-v4.5", "v4.5", "sd15", parts=_FP32),
    Fixture("Anything-v5.0-PRT-RE.safetensors", 1.99, "sd15/anything-v5.0", "v5.0", "sd15", parts=_FP16),
    Fixture("CounterfeitV30_v30.safetensors", 3.95, "sd15/counterfeit", "v3.0", "sd15", parts=_COUNTERFEIT),
    Fixture("Deliberate_v2.safetensors", 1.99, "sd15/deliberate", "v2", "sd15", parts=_FP16),
    Fixture("DreamShaper_6_NoVae.safetensors", 5.55, "sd15/dreamshaper", "v6", "sd15", parts=_PART_EMA),
    Fixture("cetusMix_Coda2.safetensors", 3.59, "sd15/cetusmix", "coda2", "sd15", parts=_CETUS),
    Fixture("chilloutmix_NiPrunedFp32Fix.safetensors", 3.97, "sd15/chilloutmix", "ni-fp32fix", "sd15", parts=_FP32),
    Fixture("pastelmix-fp32.ckpt", 3.97, "sd15/pastelmix", "fp32", "sd15", parts=_FP32),
    Fixture("revAnimated_v122.safetensors", 5.13, "sd15/revanimated", "v1.2.2", "sd15", parts=_PART_EMA),
    Fixture("sd_xl_base_1.0.safetensors", 6.46, "sdxl/sd-xl-base", "v1.0", "sdxl", parts=_SDXL),
)


def build(fixture: Fixture, folder: Path, *, scale: float = 1.0, on_progress: OnBytes | None = None) -> Path:
    """Write the fixture's file into `folder` (made if missing) and return its path.

    A file that is already there whole, with the right amount of data, is kept. The file appears whole or not at
    all. A safetensors file is streamed in under 100 MiB of memory; a `.ckpt` is held whole, as torch.save does.
    `on_progress` is called with the bytes of tensor data done since its last call (all at once for a kept file).
    Raises ValueError for a scale outside (0, 1] and OSError if the file cannot be written.
    """
    report = on_progress or (lambda _: None)
    tensors, path = fixture.tensors(scale), folder / fixture.file_name
    payload = sum(tensor.nbytes for tensor in tensors)
    zipped = path.suffix == ".ckpt"
    # torch decides a zip's framing, so a zip is known by the data that it holds and not by its size.
    found = path.is_file() and (_zipped_payload(path) if zipped else path.stat().st_size)
    if found == (payload if zipped else fixture.size_at(scale)):
        report(payload)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{fixture.file_name}.{os.getpid()}.partial"
    try:
        with partial.open("wb") as file:
            (_write_zip if zipped else _write_safetensors)(file, tensors, report)
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    return path


def _zipped_payload(path: Path) -> int | None:
    """The bytes of tensor data in a torch zip, or None if it is no whole zip: its directory stands at the end."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist() if "/data/" in entry.filename)
    except zipfile.BadZipFile:
        return None


@cache
def _tensors(fixture: Fixture, scale: float) -> tuple[StoredTensor, ...]:
    layout, chosen = components(fixture.family, scale), _chosen(fixture)
    found = []
    for part in fixture.parts:
        for spec in layout[part.component]:
            # A fine-tune trains the UNet; the rest it inherits from the family's base.
            own = part.component in ("unet", "ema")
            seed = f"{fixture.file_name if own else fixture.family}/{part.component}/{spec.name}"
            if part.fit != "take" or spec.name in chosen:
                half = part.fit == "cast" and spec.name in chosen
                found.append(StoredTensor(spec, _dtype(spec.name, "F16" if half else part.dtype), seed))
    return tuple(found)


def _dtype(name: str, floating: Dtype) -> Dtype:
    """The dtype a tensor is stored in: a cast to half leaves integers alone."""
    if name.endswith(".position_ids"):
        return "I64"
    return "I32" if name == "model_ema.num_updates" else floating


@cache
def _chosen(fixture: Fixture) -> frozenset[str]:
    """The names that the fixture's fitted part takes or casts, decided at scale 1 so that every scale agrees."""
    fitted = next((part for part in fixture.parts if part.fit), None)
    if fitted is None:
        return frozenset()
    layout, room = components(fixture.family), int(fixture.listed_gib * GIB)
    for part in fixture.parts:
        if part.fit != "take":
            room -= sum(StoredTensor(spec, part.dtype, "").nbytes for spec in layout[part.component])
    # Either fit moves the size by two bytes an element: up for one taken, down for one cast.
    room, names = room if fitted.fit == "take" else -room, set()
    for spec in layout[fitted.component]:
        if 2 * spec.count <= room:
            names.add(spec.name)
            room -= 2 * spec.count
    return frozenset(names)


def _in_file_order(tensors: Iterable[StoredTensor]) -> list[StoredTensor]:
    rank = {dtype: number for number, dtype in enumerate(DTYPES)}
    return sorted(tensors, key=lambda tensor: (rank[tensor.dtype], tensor.spec.name))


def _header(tensors: Iterable[StoredTensor]) -> bytes:
    """A safetensors file's beginning: the length, then the JSON padded so that the data starts aligned."""
    document: dict[str, Mapping[str, object]] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        document[tensor.spec.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.spec.shape,
            "data_offsets": (offset, end),
        }
        offset = end
    text = json.dumps(document, separators=(",", ":")).encode()
    text = text.ljust(math.ceil(len(text) / 8) * 8)
    return len(text).to_bytes(8, "little") + text


def _write_safetensors(file: BinaryIO, tensors: Iterable[StoredTensor], report: OnBytes) -> None:
    ordered = _in_file_order(tensors)
    file.write(_header(ordered))
    for tensor in ordered:
        for block in _blocks(tensor):
            file.write(block.data)
            report(block.nbytes)


def _write_zip(file: BinaryIO, tensors: Iterable[StoredTensor], report: OnBytes) -> None:
    import torch

    state: dict[str, torch.Tensor] = {}
    for tensor in tensors:
        values = np.empty(tensor.spec.count, DTYPES[tensor.dtype])
        done = 0
        for block in _blocks(tensor):
            values[done : done + block.size] = block
            done += block.size
        state[tensor.spec.name] = torch.from_numpy(values.reshape(tensor.spec.shape))
        report(tensor.nbytes)
    torch.save({"epoch": 6, "global_step": 470000, "state_dict": state}, file)


def _blocks(tensor: StoredTensor) -> Iterator[npt.NDArray[np.generic]]:
    """The tensor's values, flat, in blocks; each block's memory is reused for the next."""
    count = tensor.spec.count
    if tensor.dtype in ("I64", "I32"):
        yield np.arange(count, dtype=DTYPES[tensor.dtype])
        return
    # Drawing a normal for each element is several times slower than a disk. So each block is a random window of a
    # pool of normals, its low mantissa bits replaced through a random window of noise: no two blocks have a run of
    # bytes in common that a compressor or a chunk store could find.
    normals, noise = _pool(tensor.dtype)
    digest = hashlib.blake2b(tensor.seed.encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.SFC64(int.from_bytes(digest, "little")))
    buffer = np.empty(min(count, BLOCK_ELEMENTS), normals.dtype)
    for start in range(0, count, BLOCK_ELEMENTS):
        block = buffer[: min(BLOCK_ELEMENTS, count - start)]
        window, shift = (int(at) for at in rng.integers(0, POOL_ELEMENTS - block.size, size=2))
        np.bitwise_xor(normals[window : window + block.size], noise[shift : shift + block.size], out=block)
        block ^= normals.dtype.type(rng.integers(1 << NOISE_BITS[tensor.dtype]))
        yield block.view(DTYPES[tensor.dtype])


@cache
def _pool(dtype: Dtype) -> tuple[npt.NDArray[np.unsignedinteger], npt.NDArray[np.unsignedinteger]]:
    """Normals of the given dtype seen as integers, and noise for their low bits."""
    rng = np.random.Generator(np.random.SFC64(20230613))
    values = rng.standard_normal(POOL_ELEMENTS, dtype=np.float32) * np.float32(SPREAD)
    if dtype == "F16":
        halves = rng.integers(1 << NOISE_BITS["F16"], size=POOL_ELEMENTS, dtype=np.uint16)
        return values.astype(np.float16).view(np.uint16), halves
    return values.view(np.uint32), rng.integers(1 << NOISE_BITS["F32"], size=POOL_ELEMENTS, dtype=np.uint32)
