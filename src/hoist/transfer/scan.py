"""From a file or folder on this machine to the entries and blocks of a version: each byte is read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import accumulate, pairwise
from pathlib import Path

from hoist.errors import FileNotFound, InvalidFile, LocalError, UsageError
from hoist.model.blocks import BlockTable, FileBlocks, block_digest, file_blocks
from hoist.model.cut import Piece, cut
from hoist.model.formats.archive import ZIP_MAGIC, data_range, read_archive
from hoist.model.formats.gguf import GGUF_MAGIC, gguf_pieces
from hoist.model.formats.safetensors import LENGTH_BYTES, header_length, parse_header
from hoist.model.manifest import FileEntry, Manifest, check_path, digest_of, link_target
from hoist.read.source import local_error
from hoist.storage.base import OnBytes
from hoist.storage.posix import fill

# What tools leave in a model's folder that is not the model.
DEFAULT_EXCLUDE = (".git", ".cache", ".DS_Store", "__pycache__", ".hoist", ".hoist-pull")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file to publish: its path in the version, where it is, and what it looked like when it was found.

    `link`: what it says if it is a symbolic link.
    """

    path: str
    source: Path
    size: int
    changed_ns: int
    link: str = ""

    def unchanged(self) -> bool:
        """Whether the file is still there, with the size and time it was found with."""
        try:
            status = self.source.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.changed_ns)


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file, with its entry and blocks."""

    file: LocalFile
    entry: FileEntry
    blocks: FileBlocks


def find_files(source: Path, exclude: Sequence[str] = DEFAULT_EXCLUDE) -> list[LocalFile]:
    """The files of a source: itself, or all below it; symbolic links are followed, and those to another of the files kept.

    `exclude` are shell patterns for a file's path or for any part of it. Raises FileNotFound, UsageError, LocalError.
    """
    if source.is_file():
        return [replace(_local(source.name, source), link="")]
    if not source.is_dir():
        raise FileNotFound(f"there is nothing to publish at {source}: it is neither a file nor a folder")
    found = sorted(_walk(source, "", exclude, frozenset()), key=lambda file: file.path)
    if not found:
        raise UsageError(f"{source} holds no file to publish")
    by_path = {file.path: file for file in found}
    return [file if not file.link or _leads_inside(file, by_path) else replace(file, link="") for file in found]


def _leads_inside(file: LocalFile, files: Mapping[str, LocalFile]) -> bool:
    """Whether a link means another file of the version there too; the folders on its way may have been links."""
    target = files.get(link_target(file.path, file.link) or "")
    if target is None or target is file:
        return False
    try:
        return target.source.samefile(file.source)
    except OSError as error:
        raise local_error(error, file.source) from None


def scan_file(file: LocalFile, on_bytes: OnBytes, *, checked: bool = True) -> ScannedFile:
    """Digest a file and its blocks in one pass. Memory: one block.

    Raises InvalidFile for a `.safetensors` file that is none (unless not `checked`), LocalError if it changes meanwhile.
    """
    try:
        with file.source.open("rb", buffering=0) as opened:
            lengths = cut_file(file, opened.fileno(), checked=checked)
            whole = hashlib.sha256()
            digests = list(_digests(opened.fileno(), lengths, whole.update, on_bytes, file))
    except OSError as error:
        raise local_error(error, file.source) from None
    digest = f"sha256:{whole.hexdigest()}"
    return ScannedFile(file, FileEntry(file.path, file.size, digest, file.link), file_blocks(digest, lengths, digests))


def scan_small(file: LocalFile, on_bytes: OnBytes, *, checked: bool = True) -> tuple[ScannedFile, bytes]:
    """As `scan_file`, of a file that fits into memory: with its content."""
    data = bytearray(file.size)
    try:
        with file.source.open("rb", buffering=0) as opened:
            lengths = cut_file(file, opened.fileno(), checked=checked)
            if fill(opened.fileno(), 0, memoryview(data)) != file.size:
                raise _shorter(file)
    except OSError as error:
        raise local_error(error, file.source) from None
    starts = list(accumulate(lengths, initial=0))
    digests = [block_digest(memoryview(data)[begin:end]) for begin, end in pairwise(starts)]
    digest = digest_of(data)
    on_bytes(file.size)
    entry = FileEntry(file.path, file.size, digest, file.link)
    return ScannedFile(file, entry, file_blocks(digest, lengths, digests)), bytes(data)


def documents(scanned: Iterable[ScannedFile]) -> tuple[Manifest, bytes, bytes]:
    """The manifest of files, its config and its block table. Raises InvalidManifest."""
    files = list(scanned)
    table = BlockTable.build(item.blocks for item in files).to_bytes()
    manifest, config = Manifest.build((item.entry for item in files), table)
    return manifest, config, table


def cut_file(file: LocalFile, fd: int, *, checked: bool = True) -> list[int]:
    """The lengths in bytes of the blocks of an open file. Raises InvalidFile, as `scan_file` does, and OSError."""
    return cut(file.size, _pieces(file, fd, checked))


def _digests(
    fd: int, lengths: list[int], whole: Callable[[memoryview], None], on_bytes: OnBytes, file: LocalFile
) -> Iterator[bytes]:
    memory = memoryview(bytearray(max(lengths, default=0)))
    offset = 0
    # The two digests of a block are made at the same time, by two cores.
    with ThreadPoolExecutor(1, "hoist-hash") as other:
        for length in lengths:
            block = memory[:length]
            if fill(fd, offset, block) != length:
                raise _shorter(file)
            both = other.submit(whole, block)
            yield block_digest(block)
            both.result()
            offset += length
            on_bytes(length)


def _shorter(file: LocalFile) -> LocalError:
    return LocalError(f"{file.source} became shorter while it was read: run the publish again")


def _pieces(file: LocalFile, fd: int, checked: bool) -> list[Piece]:
    """Where the format sets ranges apart; nothing for a file of no known format."""

    def read(begin: int, end: int) -> bytes:
        buffer = bytearray(end - begin)
        return bytes(buffer[: fill(fd, begin, memoryview(buffer))])

    try:
        start = read(0, LENGTH_BYTES)
        if start.startswith(ZIP_MAGIC):
            return _archive_pieces(file, read)
        if start.startswith(GGUF_MAGIC):
            with file.source.open("rb") as opened:
                return gguf_pieces(opened, file.size)
        return _safetensors_pieces(start, file.size, read)
    except InvalidFile as error:
        if checked and file.path.endswith(".safetensors"):
            pointer = " (it is a git-lfs pointer: run 'git lfs pull' first)" if start.startswith(b"version ") else ""
            raise InvalidFile(f"{file.source}: {error}{pointer}; to publish it all the same, --unchecked") from None
        return []


def _safetensors_pieces(start: bytes, size: int, read: Callable[[int, int], bytes]) -> list[Piece]:
    length = header_length(start, size)
    header = parse_header(read(LENGTH_BYTES, LENGTH_BYTES + length), size)
    pieces = [Piece(0, header.data_begin, index=True)]
    pieces += [Piece(tensor.begin, tensor.end, tensor.name.partition(".")[0]) for tensor in header.tensors]
    return pieces


def _archive_pieces(file: LocalFile, read: Callable[[int, int], bytes]) -> list[Piece]:
    with file.source.open("rb") as opened:
        archive = read_archive(opened, file.size)
    ranges = {entry.name: data_range(entry, read, file.size) for entry in archive.entries.values()}
    # A reader needs the pickle and, at the end, the directory before it can ask for any tensor.
    directory = max(end for _, end in ranges.values())
    pieces = [Piece(begin, end, index=name == "data.pkl") for name, (begin, end) in ranges.items()]
    return [*pieces, Piece(directory, file.size, index=True)]


def _walk(folder: Path, prefix: str, exclude: Sequence[str], above: frozenset[tuple[int, int]]) -> Iterator[LocalFile]:
    try:
        status = folder.stat()
        inside = above | {(status.st_dev, status.st_ino)}
        if len(inside) == len(above):
            raise LocalError(f"{folder} is a symbolic link to a folder above it: the folder has no end")
        with os.scandir(folder) as entries:
            items = list(entries)
        for item in items:
            path = prefix + item.name
            if any(fnmatch(item.name, pattern) or fnmatch(path, pattern) for pattern in exclude):
                continue
            if item.is_dir():
                yield from _walk(folder / item.name, path + "/", exclude, inside)
            elif item.is_file():
                yield _local(path, folder / item.name)
            else:
                kind = "broken symbolic link" if item.is_symlink() else "special file"
                raise LocalError(f"{folder / item.name} is a {kind}: mend or --exclude it")
    except OSError as error:
        raise local_error(error, folder) from None


def _local(path: str, source: Path) -> LocalFile:
    status = source.stat()
    link = str(source.readlink()) if source.is_symlink() else ""
    return LocalFile(check_path(path), source, status.st_size, status.st_mtime_ns, link)
