"""The model that a handler's `load` gets: its files, and its tensors from what is in memory already."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from io import BufferedReader
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from hoist.errors import FileNotFound, InvalidFile, LocalError, TensorNotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from hoist.function.opened import OpenModel, WeightFile
    from hoist.function.resident import Residents

    OnPhase = Callable[[str], None]


def _no_phase(name: str) -> None:
    """Nobody wants to know."""


class Model:
    """One version of a model, open. Safe for many threads; usable until the handler's object is unloaded.

    `name` is what requests call it, `reference` is `NAME:VERSION`, `location` where it is served from, `version_digest`
    its manifest's digest, `device` what tensors come on, `weight_files` the files whose tensors are in memory.
    """

    def __init__(self, found: OpenModel, residents: Residents) -> None:
        self.name, self.location = found.name, found.location
        self.reference = str(found.opened.version)
        self.version_digest = found.opened.manifest.digest
        self.device = str(residents.torch_device)
        self.weight_files = tuple(found.files)
        self._found = found
        self._residents = residents
        self._lock = Lock()
        self._folders: list[Path] = []
        self._closed = False
        self._on_phase: OnPhase = _no_phase

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all its files."""
        return tuple(self._found.opened.files)

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file, in hex, from the manifest: nothing is read. Raises FileNotFound."""
        return self._found.opened.entry(path).digest.removeprefix("sha256:")

    def tensors(self, path: str | None = None, *, prefix: str | None = None) -> dict[str, torch.Tensor]:
        """The tensors of a weight file, or of all of them, by name, on the device; those whose name begins with `prefix`.

        They are views of memory that other models may share: do not write to them in place. Of a checkpoint they are
        those of its state dict. Raises FileNotFound, TensorNotFound, InvalidFile.
        """
        from hoist.memory import no_collection

        found: dict[str, torch.Tensor] = {}
        with self._noted(), no_collection():
            for file in self._chosen(path):
                part = self._tensors(file, prefix or "")
                twice = found.keys() & part.keys()
                if twice:
                    raise InvalidFile(
                        f"{self.reference} has {min(twice)!r} in {file.path} and in another file: name the file, one by one"
                    )
                found |= part
        if prefix and not found:
            raise TensorNotFound(f"no tensor of {self.reference} has a name that starts with {prefix!r}")
        return found

    def load_checkpoint(self, path: str | None = None) -> Any:
        """What a checkpoint holds, as `hoist.load_checkpoint` gives it, on the device.

        Raises FileNotFound, InvalidFile, UsageError where it is none or there are several.
        """
        from hoist.tensors.checkpoint import Checkpoint

        found = self._chosen(path)
        if len(found) != 1 or not isinstance(found[0].tensors, Checkpoint):
            names = ", ".join(file.path for file in found)
            raise UsageError(f"{self.reference} does not hold one checkpoint: name one of {names or 'its files'}")
        with self._noted():
            return self._checkpoint(found[0], found[0].tensors)

    def read(self, path: str) -> bytes:
        """The whole of a small file, verified. Raises FileNotFound, DamagedBlock, and what a storage may."""
        return self._found.opened.read(path)

    def open(self, path: str) -> BufferedReader:
        """A file as a seekable, read-only, binary file object, verified as it is read. Raises FileNotFound."""
        return self._found.opened.open(path)

    def folder(self, *patterns: str) -> Path:
        """A folder with the files that match the patterns (`*.json`, `tokenizer/*`); without any, all but weight files.

        Verified, and removed when the model is unloaded. Raises FileNotFound where nothing matches, LocalError.
        """
        wanted = [path for path in self.files if self._is_wanted(path, patterns)]
        if not wanted and patterns:
            raise FileNotFound(f"{self.reference} has no file that matches {' or '.join(patterns)}")
        try:
            folder = self._new_folder()
            for path in wanted:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with self.open(path) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
        except OSError as error:
            raise LocalError(f"no folder for the files of {self.reference}: {error.strerror or error}") from None
        return folder

    def close(self) -> None:
        """Remove what `folder` made; for who made the model."""
        with self._lock:
            self._closed = True
            folders, self._folders = self._folders, []
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def watched(self, on_phase: OnPhase) -> Iterator[None]:
        """A `with` block in which somebody is told when a phase begins: while the handler's `load` runs."""
        self._on_phase = on_phase
        on_phase("warmup")
        try:
            yield
        finally:
            self._on_phase = _no_phase

    @contextmanager
    def _noted(self) -> Iterator[None]:
        on_phase = self._on_phase
        on_phase("deserialize")
        try:
            yield
        finally:
            on_phase("warmup")

    def _is_wanted(self, path: str, patterns: tuple[str, ...]) -> bool:
        from hoist.tensors.index import CHECKPOINT_SUFFIXES

        if patterns:
            return any(fnmatch(path, pattern) for pattern in patterns)
        return path not in self.weight_files and not path.endswith((".safetensors", *CHECKPOINT_SUFFIXES))

    def _new_folder(self) -> Path:
        with self._lock:
            if self._closed:
                raise UsageError(f"{self.reference} was unloaded")
            folder = Path(tempfile.mkdtemp(prefix="hoist-model-"))
            self._folders.append(folder)
            return folder

    def _chosen(self, path: str | None) -> list[WeightFile]:
        files = self._found.files
        if path is None:
            return list(files.values())
        if path not in files:
            self._found.opened.entry(path)  # raises FileNotFound with the nearest names
            raise UsageError(
                f"{path} of {self.reference} is not in memory, {', '.join(files) or 'no file'} is: name it among the "
                "model's files to have it there"
            )
        return [files[path]]

    def _tensors(self, file: WeightFile, prefix: str) -> dict[str, torch.Tensor]:
        from hoist.tensors.checkpoint import Checkpoint
        from hoist.tensors.load import tensor_at

        if isinstance(file.tensors, Checkpoint):
            return _state(file.path, self._checkpoint(file, file.tensors), prefix)
        from hoist.function.units import find_unit

        found = {}
        for tensor in file.tensors.header.tensors:
            if not tensor.name.startswith(prefix):
                continue
            if tensor.begin == tensor.end:
                found[tensor.name] = tensor_at(self._residents.empty(), 0, tensor)
                continue
            unit = find_unit(file.units, tensor.begin, tensor.end)
            found[tensor.name] = tensor_at(self._residents.flat(unit.key), tensor.begin - unit.begin, tensor)
        return found

    def _checkpoint(self, file: WeightFile, checkpoint: Any) -> Any:
        import torch

        from hoist.function.units import find_units

        def at(begin: int, end: int) -> torch.Tensor:
            found = find_units(file.units, begin, end)
            parts = [self._residents.flat(unit.key)[first:last] for unit, first, last in found]
            # A storage in several units is one of a file that torch did not write as it does now.
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        def read(begin: int, end: int) -> bytes:
            found = find_units(file.units, begin, end)
            return b"".join(self._residents.read(unit.key, first, last) for unit, first, last in found)

        return checkpoint.rebuild(at, read, self._residents.torch_device)


def _state(path: str, held: Any, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of what a checkpoint holds: of its `state_dict` where it has one. Raises InvalidFile."""
    import torch

    if isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    if not isinstance(held, Mapping):
        raise InvalidFile(f"{path} holds no dict of tensors: use load_checkpoint")
    return {
        name: value
        for name, value in held.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor) and name.startswith(prefix)
    }
