"""The checkpoints that web interfaces list: the weight files at the top of every version in the storages of this user."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from hoist.config import Config, load_config
from hoist.errors import FileNotFound, HoistError, HoistWarning
from hoist.model.manifest import Manifest
from hoist.parallel import for_each
from hoist.read.connect import connect
from hoist.storage.base import Storage, Version

SUFFIXES = (".safetensors", ".ckpt", ".pt")
VARIABLE = "HOIST_CHECKPOINTS"
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_AT_ONCE = 16
_KEPT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, order=True)
class Checkpoint:
    """One weight file of a version. `title` is its location, and its file's name where the version has several;
    `sha256` is the file's, in hex, as the manifest has it."""

    title: str
    location: str
    file: str
    size: int
    sha256: str
    version_digest: str
    storage: str
    version: Version

    def load(self, device: str = "cpu") -> Any:
        """Its tensors by name, each byte verified and read once. Raises what `hoist.load_file` does."""
        if self.file.endswith(".safetensors"):
            from hoist.tensors.safetensors import load_file

            return load_file(self.location, self.file, device)
        from hoist.tensors.checkpoint import load_checkpoint

        found = load_checkpoint(self.location, self.file, device)
        return found.get("state_dict", found) if isinstance(found, dict) else found

    def metadata(self) -> dict[str, str] | None:
        """The free metadata of a safetensors file's header, or None. Raises what `hoist.safe_open` does."""
        if not self.file.endswith(".safetensors"):
            return None
        from hoist.tensors.safetensors import safe_open

        with safe_open(self.location, file=self.file) as opened:
            return opened.metadata()


def find_checkpoints(storages: Sequence[str] = (), config: Config | None = None) -> list[Checkpoint]:
    """The checkpoints in these storages, or in those that HOIST_CHECKPOINTS names (`nas,s3://models`), or in all of
    hoist.toml. A storage that cannot be read is left out, with a HoistWarning. Reads manifests, no weights."""
    config = config or load_config()
    named = [name for name in re.split(r"[,\s]+", config.environ.get(VARIABLE, "")) if name]
    found: list[Checkpoint] = []
    for address in storages or named or sorted(config.storages):
        try:
            found += _in_storage(address, config)
        except HoistError as error:
            warnings.warn(HoistWarning(f"the checkpoints of {address} are not listed: {error}"), stacklevel=2)
    return sorted(found)


def _in_storage(address: str, config: Config) -> list[Checkpoint]:
    storage, _ = connect(address, config)
    with storage:

        def read(version: Version) -> list[Checkpoint]:
            return _in_version(storage, address, version)

        return [each for found in for_each(read, storage.versions(), _AT_ONCE) for each in found]


def _in_version(storage: Storage, address: str, version: Version) -> list[Checkpoint]:
    try:
        manifest = Manifest.parse(storage.read_manifest(version))
    except HoistError:
        return []  # removed meanwhile, or damaged: `hoist list` says so
    location = f"{address}//{version}"
    files = [entry for entry in manifest.files if _is_checkpoint(entry.path)]
    return [
        Checkpoint(
            f"{location}/{entry.path}" if len(files) > 1 else location,
            location,
            entry.path,
            entry.size,
            entry.digest.removeprefix("sha256:"),
            manifest.digest,
            address,
            version,
        )
        for entry in files
    ]


def _is_checkpoint(path: str) -> bool:
    return "/" not in path and path.endswith(SUFFIXES) and not _SHARD.search(path)


@dataclass
class Catalog:
    """The checkpoints as they were found up to 30 seconds ago: interfaces ask at every click. Safe for many threads."""

    storages: Sequence[str] = ()
    _found: list[Checkpoint] = field(default_factory=list)
    _at: float = float("-inf")
    _lock: Lock = field(default_factory=Lock)

    def all(self, *, refresh: bool = False) -> list[Checkpoint]:
        """All checkpoints, by title; `refresh` looks now."""
        with self._lock:
            if refresh or time.monotonic() - self._at > _KEPT_SECONDS:
                self._found = find_checkpoints(self.storages)
                self._at = time.monotonic()
            return list(self._found)

    def find(self, title: str) -> Checkpoint:
        """The one of that title. Raises FileNotFound."""
        for refresh in (False, True):
            found = _of_title(self.all(refresh=refresh), title)
            if found:
                return found
        raise FileNotFound(f"there is no checkpoint {title!r} in the storages of this machine: hoist list shows them")


def _of_title(checkpoints: Iterable[Checkpoint], title: str) -> Checkpoint | None:
    return next((each for each in checkpoints if each.title == title), None)
