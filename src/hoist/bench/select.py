"""Some tensors out of a large file, by name: how many bytes are fetched for those that are asked.

The file is one of a transformer's shape: layers of 64 MiB, each of a few large tensors and some small ones. Its bytes are
zeros, since only how many are read counts here; the file is sparse until it is published.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hoist.bench.machine import machine_facts
from hoist.bench.records import make_record
from hoist.config import Config
from hoist.read.connect import open_location
from hoist.storage.wrap import Counting

Record = dict[str, Any]
MIB = 1 << 20
LAYER_BYTES = 64 * MIB
_NORM = 16 << 10
# The tensors of a layer, in bytes; together 64 MiB.
LAYER: Mapping[str, int] = {
    "attention.norm": _NORM,
    "attention.query": 12 * MIB,
    "attention.value": 4 * MIB - 2 * _NORM,
    "feed.norm": _NORM,
    "feed.down": 24 * MIB,
    "feed.up": 24 * MIB,
}


def write_layers(path: Path, layers: int) -> Path:
    """Write a safetensors file of that many layers; it takes no room on a disk that knows sparse files."""
    header: dict[str, Any] = {}
    at = 0
    for layer in range(layers):
        for name, size in LAYER.items():
            header[tensor_name(layer, name)] = {"dtype": "F16", "shape": [size // 2], "data_offsets": [at, at + size]}
            at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return path


def tensor_name(layer: int, name: str) -> str:
    """A tensor's name in the file."""
    return f"layers.{layer}.{name}"


def selections(layers: int) -> dict[str, list[str]]:
    """What is asked for, about 64 MiB each but the last: names of tensors, by what the selection is."""

    def spread(count: int) -> Iterator[int]:
        return (number * layers // count for number in range(count))

    return {
        "a whole layer": [tensor_name(layers // 2, name) for name in LAYER],
        "large tensors of several layers": [
            *(tensor_name(layer, "feed.up") for layer in spread(2)),
            *(tensor_name(layer, "attention.query") for layer in spread(1)),
            *(tensor_name(layer, "attention.value") for layer in spread(1)),
        ],
        "middling tensors of many layers": [tensor_name(layer, "attention.value") for layer in spread(16)],
        "small tensors of all layers": [tensor_name(layer, "feed.norm") for layer in range(layers)],
    }


def run_selections(
    location: str, config: Config, chosen: Mapping[str, Sequence[str]], on_record: Callable[[Record], None]
) -> list[Record]:
    """Load each selection from the version at `location`; a record each. Raises what loading may."""
    machine = machine_facts()
    records = []
    for name, tensors in chosen.items():
        records.append(make_record("select", machine, {"selection": name, **_load(location, config, tensors)}))
        on_record(records[-1])
    return records


def _load(location: str, config: Config, tensors: Sequence[str]) -> dict[str, Any]:
    import torch

    from hoist.tensors.index import read_index
    from hoist.tensors.load import Loader

    began = time.perf_counter()
    with open_location(location, config) as plain:
        counting = Counting(plain.storage)
        opened = replace(plain, storage=counting)
        (entry,) = opened.files.values()
        index = read_index([opened.source(entry.path)], opened.engine)
        opening = sum(counting.bytes.values())
        found = Loader(opened.engine, torch.device("cpu")).load(index, tensors)
    asked = sum(tensor.nbytes for tensor in found.values())
    read = sum(counting.bytes.values())
    return {
        "location": location,
        "size": entry.size,
        "tensors": len(found),
        "asked_bytes": asked,
        "read_bytes": read,
        "opening_bytes": opening,
        "requests": sum(counting.calls.values()),
        "seconds": time.perf_counter() - began,
    }
