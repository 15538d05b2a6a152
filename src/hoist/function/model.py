"""The model that a handler's `load` gets: its files, and its tensors from what is in memory already."""

from __future__ import annotations

from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Model:
    """One version of a model, open. Safe for many threads; usable until the handler's object is unloaded.

    `name` is what requests call it, `reference` is `NAME:VERSION`, `location` where it is served from, `version_digest`
    its manifest's digest, `device` what tensors come on, `weight_files` what is in memory.
    """

    name: str
    reference: str
    location: str
    version_digest: str
    device: str
    weight_files: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all its files."""
        raise NotImplementedError

    def sha256(self, path: str) -> str:
        """The SHA-256 of a file, in hex, from the manifest: nothing is read. Raises FileNotFound."""
        raise NotImplementedError

    def tensors(self, path: str | None = None, *, prefix: str | None = None) -> dict[str, torch.Tensor]:
        """The tensors of a weight file, or of all of them, by name, on the device; those whose name begins with `prefix`.

        They are views of memory that other models may share: do not write to them in place. Of a checkpoint they are
        those of its (state) dict. Raises FileNotFound, TensorNotFound, InvalidFile.
        """
        raise NotImplementedError

    def load_checkpoint(self, path: str | None = None) -> Any:
        """What a checkpoint holds, as `hoist.load_checkpoint` gives it. Raises FileNotFound, InvalidFile."""
        raise NotImplementedError

    def read(self, path: str) -> bytes:
        """The whole of a small file, verified. Raises FileNotFound, DamagedBlock, and what a storage may."""
        raise NotImplementedError

    def open(self, path: str) -> BufferedReader:
        """A file as a seekable, read-only, binary file object, verified as it is read. Raises FileNotFound."""
        raise NotImplementedError

    def folder(self, *patterns: str) -> Path:
        """A folder with the files that match the patterns (as `*.json`, `tokenizer/*`; all but weights without any).

        Verified, and removed when the model is unloaded. Raises FileNotFound where nothing matches.
        """
        raise NotImplementedError
