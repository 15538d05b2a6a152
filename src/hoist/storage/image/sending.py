"""Layers on their way into a repository: not sent where it has them, mounted where another repository does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from hoist.errors import HoistError, LocalError
from hoist.model.image.layers import Layer
from hoist.model.manifest import digest_of_pieces
from hoist.storage.base import Content as FileContent
from hoist.storage.base import OnBytes
from hoist.storage.oci.repositories import SLICE_BYTES, Repositories, put_small, slices
from hoist.storage.posix import changed, fill, open_source

Content = Callable[[str, int, memoryview], None]
"""Fills memory from an offset of a file, by its path in the layer."""

_CATALOGUE = 10_000


class Sender:
    """Sends layers and documents into one repository; `name` is the model's."""

    def __init__(self, repositories: Repositories, repository: str, name: str) -> None:
        self._repositories = repositories
        self._repository = repository
        self._name = name
        self._lock = Lock()
        self._others: Sequence[str] | None = None

    def send(
        self, layer: Layer, content: Content, on_bytes: OnBytes, resume: str = "", *, look: bool = True
    ) -> tuple[str, bool]:
        """Store a layer; its digest, and whether it was sent: then `on_bytes` is told of the content's bytes.

        `look`: read it once more before, where the registry may have it. Raises what `content` does, and what a storage may.
        """
        told = _Told(layer, on_bytes)
        digest = None
        if look and self._may_be_held():
            digest = digest_of_pieces(stream(layer, content, 0))
            if self._mounted(digest, layer.size):
                return digest, False
        digest = self._repositories.put_blob(
            self._repository,
            digest,
            layer.size,
            lambda offset: stream(layer, content, offset),
            told.advance,
            resume,
        )
        if told.begun:
            told.finish()
        return digest, told.begun

    def put(self, data: bytes) -> str:
        """Store a small blob; its digest."""
        return put_small(self._repositories, self._repository, data)

    def put_manifest(self, tag: str, data: bytes, media_type: str) -> None:
        """Make the image exist."""
        self._repositories.put_manifest(self._repository, tag, data, media_type)

    def _may_be_held(self) -> bool:
        """Whether it is worth reading a layer first, to know whether it is there: this repository has something already, or
        there is another one of this name."""
        with self._lock:
            if self._others is None:
                self._others = self._look_around()
        return bool(self._others)

    def _look_around(self) -> list[str]:
        found = []
        with suppress(HoistError):
            # Many registries do not list their repositories.
            found = [
                each
                for each in islice(self._repositories.repositories(""), _CATALOGUE)
                if each != self._repository and (each == self._name or each.endswith("/" + self._name))
            ]
        if self._repositories.tags(self._repository):
            found.append(self._repository)
        return found

    def _mounted(self, digest: str, size: int) -> bool:
        """Whether the repository has a blob, or has it now from another one."""
        if self._repositories.blob_size(self._repository, digest) == size:
            return True
        known = [*self._repositories.known_holders(digest), *(self._others or ())]
        return any(
            self._repositories.mount_blob(self._repository, digest, size, other)
            for other in dict.fromkeys(known)
            if other != self._repository
        )


class Sources:
    """Files of this machine, opened once, or what gives their bytes, as the content of a layer. Use as a context manager."""

    def __init__(self, files: Mapping[str, tuple[Path | FileContent, int]]) -> None:
        self._files = files
        self._stack = ExitStack()
        self._opened: dict[str, BinaryIO] = {}

    def __enter__(self) -> Content:
        try:
            for path, (source, size) in self._files.items():
                if not isinstance(source, Path):
                    continue
                self._opened[path] = self._stack.enter_context(open_source(source))
                if self._opened[path].seek(0, 2) != size:
                    raise changed(source)
        except BaseException:
            self._stack.close()
            raise
        return self._read

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _read(self, path: str, offset: int, buffer: memoryview) -> None:
        source = self._files[path][0]
        if not isinstance(source, Path):
            source(offset, buffer)
            return
        try:
            if fill(self._opened[path].fileno(), offset, buffer) != len(buffer):
                raise changed(source)
        except OSError as error:
            raise LocalError(f"cannot read {source}: {error.strerror}") from None


def stream(layer: Layer, content: Content, offset: int) -> Iterator[memoryview]:
    """A layer's bytes from an offset on, in slices of 1 MiB at most, each valid until the next."""
    memory = memoryview(bytearray(SLICE_BYTES))
    for part in layer.stream(offset):
        if isinstance(part, bytes):
            yield from slices(part)
            continue
        for begin in range(part.begin, part.end, SLICE_BYTES):
            view = memory[: min(SLICE_BYTES, part.end - begin)]
            content(part.path, begin, view)
            yield view


class _Told:
    """What the progress is told: the content's bytes and no more, whatever is sent around them."""

    def __init__(self, layer: Layer, on_bytes: OnBytes) -> None:
        self._on_bytes = on_bytes
        self._most = sum(member.size for member in layer.members)
        self._told = 0
        self.begun = False

    def advance(self, count: int) -> None:
        """Bytes of the layer were sent; negative: they have to go again."""
        self.begun = True
        # Headers count as content until there is no more of it: they are few.
        count = min(count, self._most - self._told)
        if count:
            self._told += count
            self._on_bytes(count)

    def finish(self) -> None:
        """All is there."""
        if self._told < self._most:
            self._on_bytes(self._most - self._told)
            self._told = self._most
