"""What a peer is: a way of loading that Hoist is measured against, as its own users would run it.

A peer's `prepare` imports what it needs, which takes no part in its time, and gives the load itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from hoist.testing.servers.base import find_program

Place = Literal["file", "bucket"]
CHECKPOINT, SAFETENSORS = "ckpt", "safetensors"
INSTALL = "pip install 'hoist[peers]'"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where an object lies, as S3 clients want it said."""

    name: str
    key: str
    endpoint: str | None
    region: str
    anonymous: bool

    @property
    def url(self) -> str:
        """`s3://BUCKET/KEY`."""
        return f"s3://{self.name}/{self.key}"


@dataclass(frozen=True, slots=True)
class Subject:
    """One weight file to load: its location for Hoist, its path or its bucket for the others.

    `scratch` is a folder for copies; `made` the file that a peer has made of it beforehand, for a format of its own.
    """

    location: str
    file: str
    size: int
    scratch: str
    path: str | None = None
    bucket: Bucket | None = None
    made: str | None = None

    @property
    def place(self) -> Place:
        """Whether it is a local file or an object."""
        return "bucket" if self.bucket else "file"

    @property
    def format(self) -> str:
        """`safetensors` or `ckpt`."""
        return SAFETENSORS if self.file.endswith(".safetensors") else CHECKPOINT

    @property
    def local(self) -> str:
        """The path of a local file. Raises AssertionError for an object."""
        assert self.path is not None, "a peer of files was given an object"
        return self.path

    @property
    def remote(self) -> Bucket:
        """The bucket of an object. Raises AssertionError for a file."""
        assert self.bucket is not None, "a peer of buckets was given a file"
        return self.bucket

    def to_json(self) -> dict[str, Any]:
        """As `from_json` takes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Subject:
        """A subject as another process has it."""
        bucket = document["bucket"]
        return cls(**{**document, "bucket": Bucket(**bucket) if bucket else None})


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load made, and the bytes it read from the file or the storage where the loader can know."""

    value: Any
    bytes_read: int | None = None


Load = Callable[[], Loaded]


@dataclass(frozen=True)
class Peer:
    """One way of loading.

    `packages` and `programs` are what must be installed; `environ` is what its users set for this mode of it; `make`
    writes the file that it needs in place of the one it is given, untimed; `verifies`: every byte is checked.
    """

    name: str
    about: str
    prepare: Callable[[Subject], Load]
    places: tuple[Place, ...] = ("file",)
    formats: tuple[str, ...] = (SAFETENSORS,)
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    make: Callable[[Subject, Path], None] | None = None
    verifies: bool = False

    def unavailable(self) -> str | None:
        """None when it is installed; else what is missing, and the mend."""
        missing = [name for name in self.packages if _version(name) is None]
        missing += [name for name in self.programs if find(name) is None]
        return f"not installed ({', '.join(missing)}): {INSTALL}" if missing else None

    def unable(self, subject: Subject) -> str | None:
        """None when it can load this subject; else why not."""
        if subject.place not in self.places:
            return "reads local files only" if subject.place == "bucket" else "reads buckets only"
        if subject.format not in self.formats:
            return f"does not load .{subject.file.rpartition('.')[2]} files"
        return None

    @property
    def versions(self) -> dict[str, str]:
        """The versions of its packages."""
        return {name: found for name in self.packages if (found := _version(name))}


def find(program: str) -> str | None:
    """A program of this environment, which need not be activated, or of PATH."""
    beside = Path(sys.executable).parent / program
    return str(beside) if beside.is_file() else find_program(program)


def weights_from_file(path: str) -> Any:
    """What most people call to load a local file."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    return torch.load(path, weights_only=True)


def weights_from_bytes(data: bytes, file: str) -> Any:
    """What most people call to load bytes that they have in memory."""
    if file.endswith(".safetensors"):
        from safetensors.torch import load

        return load(data)
    from io import BytesIO

    import torch

    return torch.load(BytesIO(data), weights_only=True)


def import_weights(file: str) -> None:
    """Import what the two functions above call, so that it is no part of a load's time."""
    import torch  # noqa: F401

    if file.endswith(".safetensors"):
        import safetensors.torch  # noqa: F401


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
