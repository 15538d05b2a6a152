"""The manifest: the document that lists a version's files, and whose digest is the version's identity.

It is a CNCF ModelPack manifest (an OCI image manifest with an artifact type) over the raw files:
https://github.com/modelpack/model-spec/blob/main/docs/spec.md. Its bytes depend on nothing but the
files' paths, sizes and contents (no time, no name, no storage), so that the same files have the same digest
wherever and whenever they are published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from hoist.errors import InvalidManifest
from hoist.model.reference import is_digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
BLOCKS_TYPE = "application/vnd.hoist.blocks.v1.raw"
FILEPATH = "org.cncf.model.filepath"
LINK = "dev.hoist.link"
# What lies in these folders is Hoist's own, in a storage and in a folder that is pulled to.
RESERVED = (".hoist", ".hoist-pull")
MAX_MANIFEST_BYTES = 64 << 20
# A table is read whole: 512 MiB of it stand for about 14 million blocks, 110 TiB.
MAX_TABLE_BYTES = 512 << 20

_FILE_TYPE = "application/vnd.cncf.model.{}.v1.raw"
_WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx", ".h5", ".msgpack", ".npz")
_FORMATS: Mapping[str, tuple[str, ...]] = {
    "safetensors": (".safetensors",),
    "gguf": (".gguf",),
    "onnx": (".onnx",),
    "pytorch": (".ckpt", ".pt", ".pth"),
}
_DOCS = (".md", ".txt", ".pdf", ".rst")
_CODE = (".py", ".sh", ".ipynb")


@dataclass(frozen=True, slots=True, order=True)
class FileEntry:
    """One file of a version: its path inside it, size in bytes, and SHA-256 as `sha256:HEX`.

    `link`: it was a symbolic link with this text, to another file of the version. It is a file of that content all the same.
    """

    path: str
    size: int
    digest: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Blob:
    """A small document that belongs to a version: the config or the block table."""

    digest: str
    size: int


def digest_of(data: bytes | bytearray) -> str:
    """The `sha256:HEX` digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of_pieces(pieces: Iterable[bytes | memoryview]) -> str:
    """The same of data that comes piece by piece."""
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(piece)
    return f"sha256:{whole.hexdigest()}"


def check_path(path: str) -> str:
    """Return `path` if it is safe and canonical inside a version, else raise InvalidManifest."""
    parts = path.split("/")
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        length = 0
    if (
        not 0 < length <= 1024
        or any(part in ("", ".", "..") for part in parts)
        or any(ord(c) < 32 or ord(c) == 127 or c == "\\" for c in path)
        or parts[0] in RESERVED
    ):
        raise InvalidManifest(
            f"unsafe file path {path!r} in a version: paths are relative, valid UTF-8 of 1,024 bytes at most, use '/', "
            "have no empty, '.' or '..' part, no backslash or control character, and do not start with .hoist or .hoist-pull"
        )
    return path


def link_target(path: str, link: str) -> str | None:
    """The path in a version that a symbolic link at `path` leads to; None unless it is relative, stays inside, and goes up
    only at its beginning, so that it means the same wherever the version lies."""
    folder, parts = path.split("/")[:-1], link.split("/")
    while folder and parts and parts[0] == "..":
        folder.pop()
        del parts[0]
    try:
        return check_path("/".join([*folder, *parts])) if parts and ".." not in parts else None
    except InvalidManifest:
        return None


@dataclass(frozen=True)
class Manifest:
    """A version's files in order of path, with its config and block table.

    Build one with `Manifest.build` or `Manifest.parse`; `data` is the exact document, `digest` its identity.
    """

    files: tuple[FileEntry, ...]
    config: Blob
    blocks: Blob
    data: bytes

    @cached_property
    def digest(self) -> str:
        """`sha256:HEX` of the document: the version's identity on every storage."""
        return digest_of(self.data)

    @cached_property
    def by_path(self) -> Mapping[str, FileEntry]:
        """The files by their paths."""
        return {file.path: file for file in self.files}

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    @staticmethod
    def build(files: Iterable[FileEntry], blocks: bytes) -> tuple[Manifest, bytes]:
        """Make the manifest of `files` with the block table `blocks`; return it and its config document.

        Raises InvalidManifest for no files, an unsafe path, two files at one path, or documents over their limits.
        """
        entries = tuple(sorted(files))
        _check_files(entries)
        blocks_blob = _check_table(Blob(digest_of(blocks), len(blocks)))
        config = _config_document(entries, blocks_blob)
        config_blob = Blob(digest_of(config), len(config))
        layers = [_layer(entry) for entry in entries]
        layers.append(_descriptor(BLOCKS_TYPE, blocks_blob.digest, blocks_blob.size))
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": _descriptor(CONFIG_TYPE, config_blob.digest, config_blob.size),
            "layers": layers,
        }
        data = _check_length(canonical(document))
        return Manifest(entries, config_blob, blocks_blob, data), config

    @staticmethod
    def parse(data: bytes) -> Manifest:
        """Read a manifest document. Raises InvalidManifest for anything but a well-formed one."""
        try:
            document = json.loads(_check_length(data))
            if document["mediaType"] != MANIFEST_TYPE or document["artifactType"] != ARTIFACT_TYPE:
                raise InvalidManifest("the manifest is not a model's: its media or artifact type is another")
            config = _parse_blob(document["config"])
            layers = document["layers"]
            tables = [_parse_blob(layer) for layer in layers if layer["mediaType"] == BLOCKS_TYPE]
            files = tuple(_parse_layer(layer) for layer in layers if layer["mediaType"] != BLOCKS_TYPE)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidManifest(f"the manifest is malformed: {error!r}") from None
        if len(tables) != 1:
            raise InvalidManifest(f"the manifest names {len(tables)} block tables, not one")
        _check_files(files)
        return Manifest(files, config, _check_table(tables[0]), data)


def _check_length(data: bytes) -> bytes:
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(
            f"a manifest of {len(data)} bytes, {MAX_MANIFEST_BYTES} at most: the version has too many files"
        )
    return data


def _check_table(blob: Blob) -> Blob:
    if blob.size > MAX_TABLE_BYTES:
        raise InvalidManifest(
            f"a block table of {blob.size} bytes, {MAX_TABLE_BYTES} at most: the version is too large"
        )
    return blob


def _check_files(files: tuple[FileEntry, ...]) -> None:
    if not files:
        raise InvalidManifest("a version needs at least one file")
    for file in files:
        check_path(file.path)
    # With a '/' at its end a folder stands right before what is in it.
    for one, next_one in pairwise(sorted(file.path + "/" for file in files)):
        if one == next_one:
            raise InvalidManifest(f"two files at one path {one[:-1]!r}")
        if next_one.startswith(one):
            raise InvalidManifest(f"{one[:-1]!r} is both a file and the folder of {next_one[:-1]!r}")
    links = [file for file in files if file.link]
    if links:
        _check_links(links, {file.path: file for file in files})


def _check_links(links: Iterable[FileEntry], files: Mapping[str, FileEntry]) -> None:
    """Each must lead to a file of the version that has the same content, at the end of all links to one that is none."""
    whole = {path for path, file in files.items() if not file.link}
    for link in links:
        way: list[str] = []
        entry = link
        while entry.path not in whole and entry.path not in way:
            way.append(entry.path)
            target = files.get(link_target(entry.path, entry.link) or "")
            if target is None or (target.digest, target.size) != (entry.digest, entry.size):
                raise InvalidManifest(f"the link {entry.path!r} leads to no file of its content: {entry.link!r}")
            entry = target
        if entry.path not in whole:
            raise InvalidManifest(f"the link {link.path!r} leads to itself")
        whole.update(way)


def file_kind(path: str) -> str:
    """What a file is in ModelPack's words: `weight`, `weight.config`, `code` or `doc`."""
    lower = path.lower()
    if lower.endswith(_WEIGHTS):
        return "weight"
    if lower.endswith(_DOCS):
        return "doc"
    return "code" if lower.endswith(_CODE) else "weight.config"


def file_format(files: Iterable[FileEntry]) -> str:
    """The format of the weights in ModelPack's words; empty if they have none, or several."""
    paths = [file.path.lower() for file in files]
    found = [name for name, ends in _FORMATS.items() if any(path.endswith(ends) for path in paths)]
    return found[0] if len(found) == 1 else ""


def _config_document(files: tuple[FileEntry, ...], blocks: Blob) -> bytes:
    found = file_format(files)
    config: dict[str, Any] = {"format": found} if found else {}
    diff_ids = [*(file.digest for file in files), blocks.digest]
    return canonical({"descriptor": {}, "config": config, "modelfs": {"type": "layers", "diffIds": diff_ids}})


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _layer(entry: FileEntry) -> dict[str, Any]:
    media_type = _FILE_TYPE.format(file_kind(entry.path))
    annotations = {FILEPATH: entry.path} | ({LINK: entry.link} if entry.link else {})
    return _descriptor(media_type, entry.digest, entry.size) | {"annotations": annotations}


def _parse_blob(descriptor: Any) -> Blob:
    digest, size = descriptor["digest"], descriptor["size"]
    if not isinstance(digest, str) or not is_digest(digest):
        raise InvalidManifest(f"the manifest has a bad digest {digest!r}")
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise InvalidManifest(f"the manifest has a bad size {size!r}")
    return Blob(digest, size)


def _parse_layer(layer: Any) -> FileEntry:
    blob = _parse_blob(layer)
    path = layer["annotations"][FILEPATH]
    if not isinstance(path, str):
        raise InvalidManifest(f"the manifest has a bad file path {path!r}")
    link = layer["annotations"].get(LINK, "")
    if not isinstance(link, str):
        raise InvalidManifest(f"the manifest has a bad link {link!r}")
    return FileEntry(check_path(path), blob.size, blob.digest, link)


def canonical(document: Any) -> bytes:
    """A JSON document's one encoding: sorted, without spaces, in UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
