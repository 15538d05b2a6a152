"""What the engine reads from: one file, its blocks, and how to fill memory with its bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hoist.errors import FileNotFound, InvalidFile, LocalError, PermissionDenied
from hoist.model.blocks import FileBlocks, file_blocks
from hoist.model.cut import BLOCK_TARGET, cut
from hoist.storage.base import Storage, StoredFile, Traits
from hoist.storage.posix import fill, on_local_disk

if TYPE_CHECKING:
    from hoist.read.cache.host import HostCache


def _nowhere() -> Path | None:
    return None


@dataclass(frozen=True, slots=True)
class Source:
    """One file. `read_into(offset, buffer)` fills the caller's buffer or raises; blocks without digests are not
    verified, which is so only for a plain local file that no manifest lists."""

    name: str
    where: str
    blocks: FileBlocks
    read_into: Callable[[int, memoryview], None]
    traits: Traits
    local_path: Callable[[], Path | None] = _nowhere
    """Asked just before a load: the local file to map instead of reading, if there is one."""
    throttled: Callable[[], int] = int
    """How many answers of its storage have said so far that it holds them back."""
    cache: HostCache | None = None
    """The host cache that bytes go through, if there is one, and there is no local file."""

    @property
    def seen_as(self) -> str:
        """What a cache lists the file under: `STORAGE//NAME:VERSION/PATH`."""
        return f"{self.where}//{self.name}"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.blocks.size


def stored_source(storage: Storage, file: StoredFile, blocks: FileBlocks) -> Source:
    """A file of a version in a storage; every block is verified."""

    def read_into(offset: int, buffer: memoryview) -> None:
        storage.read_into(file, offset, buffer)

    def local_path() -> Path | None:
        return storage.local_path(file)

    return Source(str(file), storage.address, blocks, read_into, storage.traits, local_path, storage.throttled)


def local_source(path: Path) -> Source:
    """A plain local file, read in steps of a block and not verified, as there is nothing to verify it against.

    Raises FileNotFound, PermissionDenied, LocalError.
    """

    def read_into(offset: int, buffer: memoryview) -> None:
        try:
            with path.open("rb", buffering=0) as file:
                got = fill(file.fileno(), offset, buffer)
        except OSError as error:
            raise local_error(error, path) from None
        if got != len(buffer):
            raise InvalidFile(f"{path} ends before byte {offset + len(buffer)}: it changed while it was read")

    try:
        size = path.stat().st_size
        if not path.is_file():
            raise LocalError(f"{path} is not a file")
    except OSError as error:
        raise local_error(error, path) from None
    blocks, traits = file_blocks("", cut(size), []), Traits(BLOCK_TARGET, 8)
    return Source(path.name, str(path.parent), blocks, read_into, traits, lambda: path if on_local_disk(path) else None)


def local_error(error: OSError, path: Path) -> FileNotFound | PermissionDenied | LocalError:
    """What an error of the operating system about a local path means."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FileNotFound(f"there is no file {path}")
    if isinstance(error, PermissionError):
        return PermissionDenied(f"no permission for {path}")
    return LocalError(f"{path}: {error.strerror or error}")
