"""What a program does with a mount, timed from inside a process of its own, for at most a while."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

READ, MAP, LOAD, TREE = "read", "mmap", "load_file", "tree"
_STEP = 1 << 20


def run_reading(task: Mapping[str, Any]) -> dict[str, Any]:
    """Do what `how` says with `path`, until it is done or `patience` seconds have passed; bytes, files, seconds, CPU.

    `began` is by the clock that all processes of a machine share.
    """
    work = _WORKS[task["how"]]
    if task["how"] == LOAD:
        import safetensors.torch  # noqa: F401

    elif task["how"] == MAP:
        import numpy as np  # noqa: F401
    before, began = time.process_time(), time.monotonic()
    size = files = 0
    whole = True
    for got in work(Path(task["path"])):
        size, files = size + got, files + 1
        if time.monotonic() - began > task["patience"]:
            whole = size == task.get("size", -1)
            break
    seconds = time.monotonic() - began
    return {
        "began": began,
        "seconds": seconds,
        "bytes": size,
        "files_read": files if task["how"] == TREE else 1,
        "whole": whole,
        "reader_cpu_seconds": time.process_time() - before,
    }


def _read(path: Path) -> Iterator[int]:
    """Read on and on, a MiB a call, as copy programs do."""
    buffer = bytearray(_STEP)
    fd = os.open(path, os.O_RDONLY)
    try:
        while got := os.readv(fd, [buffer]):
            yield got
    finally:
        os.close(fd)


def _map(path: Path) -> Iterator[int]:
    """Map it and copy it piece by piece into the same memory, from its start to its end: each byte is used once."""
    import numpy as np

    with path.open("rb") as file:
        # Unmapped when nothing refers to it any more.
        mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), np.uint8)
    piece = np.empty(_STEP, np.uint8)
    for at in range(0, len(mapped), _STEP):
        part = mapped[at : at + _STEP]
        np.copyto(piece[: len(part)], part)
        yield len(part)


def _load(path: Path) -> Iterator[int]:
    from safetensors.torch import load_file

    from hoist.bench.contents import touch

    touch(load_file(path))
    yield path.stat().st_size


def _tree(path: Path) -> Iterator[int]:
    """Read each file below a folder to its end, one after the other."""
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            with Path(folder, name).open("rb", buffering=0) as file:
                yield len(file.read())


_WORKS: Mapping[str, Callable[[Path], Iterator[int]]] = {READ: _read, MAP: _map, LOAD: _load, TREE: _tree}
