"""The weight files that a load wants, opened so that what is read of them is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from hoist.config import load_config
from hoist.model.reference import looks_like_location, parse_location
from hoist.read.connect import connect, enabled_cache
from hoist.read.source import Source
from hoist.read.version import OpenedVersion, open_version
from hoist.storage.wrap import Counting
from hoist.tensors.index import (
    CHECKPOINT_INDEX,
    CHECKPOINT_SUFFIXES,
    SAFETENSORS_INDEX,
    Weights,
    find_weights,
    weight_files,
)

_SAFETENSORS = (".safetensors",)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to load: the arguments of `hoist load`. `each`: several files stay apart, and without `files` all are meant."""

    place: str
    files: tuple[str, ...] = ()
    device: str = "cpu"
    dtype: str | None = None
    prefix: str | None = None
    each: bool = False


@dataclass(frozen=True, slots=True)
class Meter:
    """Bytes and requests up to now."""

    bytes: Callable[[], int]
    requests: Callable[[], int]


def open_counted(wanted: Wanted) -> tuple[Weights, Meter]:
    """The weight files, with what is read of them counted. Raises what `hoist.load_file` does before it reads tensors."""
    path = Path(wanted.place)
    if path.exists() or not looks_like_location(wanted.place):
        return _open_local(path, wanted.files)
    location = parse_location(wanted.place)
    config = load_config()
    storage, engine = connect(location.storage, config)
    counting = Counting(storage)
    try:
        opened = open_version(counting, location.reference, engine, enabled_cache(config))
        names = _names(opened, wanted)
        sources = tuple(opened.source(name) for name in names)
    except BaseException:
        counting.close()
        raise
    manifest_bytes = len(opened.manifest.data)
    meter = Meter(lambda: sum(counting.bytes.values()) + manifest_bytes, lambda: sum(counting.calls.values()))
    return Weights(sources, opened, engine), meter


def _open_local(path: Path, files: tuple[str, ...]) -> tuple[Weights, Meter]:
    names = [item.name for item in path.iterdir()] if path.is_dir() else [path.name]
    weights = find_weights(path, files or None, _suffixes(names, files))
    counts = _Counts()
    sources = tuple(
        replace(source, read_into=counts.around(source.read_into), local_path=counts.mapping(source))
        for source in weights.sources
    )
    return replace(weights, sources=sources), Meter(lambda: counts.bytes, lambda: counts.requests)


def _suffixes(names: list[str], files: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the two formats to load: that of the files named, else safetensors if there is one."""
    look_at = files or names
    if any(name.endswith((*_SAFETENSORS, SAFETENSORS_INDEX)) for name in look_at):
        return _SAFETENSORS
    checkpoints = (*CHECKPOINT_SUFFIXES, CHECKPOINT_INDEX)
    return CHECKPOINT_SUFFIXES if any(name.endswith(checkpoints) for name in look_at) else _SAFETENSORS


def _names(opened: OpenedVersion, wanted: Wanted) -> list[str]:
    """The weight files of a version that are meant. Raises FileNotFound, UsageError."""
    suffixes = _suffixes(list(opened.files), wanted.files)
    if wanted.each and not wanted.files:
        found = [path for path in opened.files if path.endswith(suffixes)]
        if found:
            return found
    return weight_files(opened, wanted.files or None, suffixes)


def file_name(source: Source, weights: Weights) -> str:
    """The file's path in its version, or its name."""
    return source.name.removeprefix(f"{weights.opened.version}/") if weights.opened else source.name


class _Counts:
    """Counts what is read of local files."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.bytes = self.requests = 0

    def around(self, read_into: Callable[[int, memoryview], None]) -> Callable[[int, memoryview], None]:
        def counted(offset: int, buffer: memoryview) -> None:
            with self._lock:
                self.bytes += len(buffer)
                self.requests += 1
            read_into(offset, buffer)

        return counted

    def mapping(self, source: Source) -> Callable[[], Path | None]:
        """A file that is mapped is counted as read."""

        def counted() -> Path | None:
            found = source.local_path()
            if found:
                with self._lock:
                    self.bytes += source.size
                    self.requests += 1
            return found

        return counted
