"""What the tests of `hoist image` make: base images of several kinds, models, places to build to, and what counts bytes."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hoist.config import Config
from hoist.image.addresses import parse_image
from hoist.image.places import Image, opened_image
from hoist.model.image.documents import parse_config
from hoist.model.manifest import digest_of
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.read.version import open_version
from hoist.storage.image.single import SingleImage
from hoist.testing.servers.base import find_program
from hoist.transfer.verify import verify_version
from makers import directory_storage, publish, write_files

MIB = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
BUSYBOX = Path("/bin/busybox")


def tar_of(files: Mapping[str, bytes], *, mode: int = 0o755) -> bytes:
    """A tar with these files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def put(image: Image, data: bytes) -> tuple[str, int]:
    """A blob in the image's repository."""
    digest = image.place.put_blob(
        image.repository,
        digest_of(data),
        len(data),
        lambda offset: iter([memoryview(data)[offset:]]),
        lambda count: None,
    )
    return digest, len(data)


def put_base(
    image: Image,
    layers: Sequence[bytes],
    *,
    reference: str = "",
    architecture: str = "amd64",
    docker: bool = False,
    squeezed: bool = False,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An ordinary image that knows nothing of Hoist; its descriptor as an index has it."""
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": "2024-05-06T07:08:09Z",
        "config": dict(config or {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"a": "b"}}),
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        "history": [{"created_by": "ENV PATH", "empty_layer": True}, *({"created_by": "COPY"} for _ in layers)],
    }
    kind = "application/vnd.docker.image.rootfs.diff.tar" if docker else "application/vnd.oci.image.layer.v1.tar"
    suffix = (".gzip" if docker else "+gzip") if squeezed else ""
    blobs = [gzip.compress(layer, 1, mtime=0) if squeezed else layer for layer in layers]
    made = json.dumps(document).encode()
    config_type = (
        "application/vnd.docker.container.image.v1+json" if docker else "application/vnd.oci.image.config.v1+json"
    )
    described = [{"mediaType": kind + suffix, "digest": put(image, one)[0], "size": len(one)} for one in blobs]
    media_type = DOCKER if docker else MANIFEST
    digest, size = put(image, made)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"mediaType": config_type, "digest": digest, "size": size},
            "layers": described,
        }
    ).encode()
    image.place.put_manifest(image.repository, reference or image.address.reference, manifest, media_type)
    platform = {"os": "linux", "architecture": architecture}
    return {"mediaType": media_type, "digest": digest_of(manifest), "size": len(manifest), "platform": platform}


def put_index(image: Image, children: Sequence[Mapping[str, Any]]) -> bytes:
    """An index of such images under the image's tag."""
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children)}).encode()
    image.place.put_manifest(image.repository, image.address.reference, data, INDEX)
    return data


def model_folder(root: Path, versions: Mapping[str, Mapping[str, bytes]]) -> Path:
    """A directory storage with versions, by `NAME:LABEL`."""
    for number, (reference, files) in enumerate(versions.items()):
        source = write_files(root.parent / f"source-{root.name}-{number}", files)
        publish(source, directory_storage(root), reference)
    return root


@contextmanager
def image_at(text: str, config: Config | None = None) -> Iterator[Image]:
    """An image, by the name that a user gives it."""
    with opened_image(parse_image(text), config or Config()) as image:
        yield image


def config_of(image: Image, manifest: Mapping[str, Any]) -> Any:
    """The config of an image, by its manifest."""
    blob = manifest["config"]
    data = image.place.read_blob(image.repository, blob["digest"], blob["size"])
    parse_config(data)
    return json.loads(data)


def manifest_of(image: Image, reference: str = "") -> Any:
    """A manifest or index as JSON."""
    return json.loads(image.place.manifest(image.repository, reference or image.address.reference).data)


def unpacked(image: Image, manifest: Mapping[str, Any], folder: Path) -> Path:
    """The image's tree, laid layer by layer, as a container would see it."""
    for layer in manifest["layers"]:
        data = image.place.read_blob(image.repository, layer["digest"], layer["size"])
        if layer["mediaType"].endswith("+zstd"):
            import zstandard

            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            # Python 3.11.4 and later want to be told; those before know no filters.
            archive.extraction_filter = getattr(tarfile, "tar_filter", None)
            archive.extractall(folder)
    return folder


def tags_that_are_whole(text: str, name: str, *, read: bool) -> dict[str, str]:
    """All tags of a repository, each with the version that it means; every blob is there, and is verified if `read`."""
    found = {}
    with image_at(text) as image:
        for tag in image.place.tags(image.repository):
            found[tag] = label = whole_version(image, tag)
            if not read:
                continue
            storage = SingleImage(image.place, image.repository, tag, "image")
            with open_version(storage, parse_reference(f"{name}:{label}")) as opened:
                assert not verify_version(opened, Progress()).damaged
    return found


def whole_version(image: Image, tag: str) -> str:
    """The label of the one version in an image, all of whose blobs are there."""
    manifest = manifest_of(image, tag)
    for blob in (manifest["config"], *manifest["layers"]):
        assert image.place.blob_size(image.repository, blob["digest"]) == blob["size"], (tag, blob)
    storage = SingleImage(image.place, image.repository, tag, "image")
    (version,) = storage.versions()
    return version.label


def need_program(name: str, package: str = "") -> str:
    """The path of a program; where it is not installed, a skip on a laptop and a failure in CI."""
    found = find_program(name)
    if found is None:
        reason = f"{name} is not installed: apt-get install -y --no-install-recommends {package or name}"
        if os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
