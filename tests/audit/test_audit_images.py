"""Audits of registries and layout folders: a blob that is damaged or gone where it lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from audit_making import FILES, MIB, config_of, flip, only, published, told

import hoist
from hoist.audit.finding import Audit
from hoist.config import Config, StorageConfig
from hoist.testing.servers import DockerRegistry

# Beside the files that have layers of their own, some that share one.
MIXED = {"model.bin": FILES["vae.bin"] * 3, "config.json": b'{"a": 1}', "merges.txt": b"m" * 50_000, "empty": b""}
BlobOf = Callable[[str], Path]


def layers_of(config: Config) -> dict[str, str]:
    """The blob in which each file of the version lies."""
    from hoist.storage import open_storage
    from hoist.storage.base import Version
    from hoist.storage.image.reading import ImageReader

    with open_storage(config.storage("a"), config.environ) as storage:
        assert isinstance(storage, ImageReader)
        image, held = storage.look_up(Version("m/one", "v1"))
        contents = image.documents(held).contents
        return {
            path: image.layer(layer.diff_id).digest.partition(":")[2] for path, (layer, _) in contents.by_path.items()
        }


@pytest.fixture
def layout(tmp_path: Path) -> tuple[Config, BlobOf]:
    """Storages `a`, a layout folder, and `b`, a directory, both with the version; where blobs of `a` lie."""
    (tmp_path / "b").mkdir()
    image = StorageConfig("a", f"oci-layout://{tmp_path}/layout")
    config = config_of(image, StorageConfig("b", str(tmp_path / "b")), home=tmp_path)
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1", files=MIXED)
    return config, lambda digest: tmp_path / "layout/blobs/sha256" / digest


@pytest.fixture
def registry(docker_registry: DockerRegistry, tmp_path: Path) -> tuple[Config, BlobOf]:
    """The same with a registry."""
    (tmp_path / "b").mkdir()
    image = StorageConfig("a", f"oci://{docker_registry.host}/audit-{uuid4().hex[:8]}")
    config = config_of(image, StorageConfig("b", str(tmp_path / "b")), home=tmp_path)
    published(config, tmp_path, "a//m/one:v1", "b//m/one:v1", files=MIXED)
    blobs = docker_registry.data_folder / "docker/registry/v2/blobs/sha256"
    return config, lambda digest: blobs / digest[:2] / digest / "data"


def audited(config: Config, *, repair: bool = False) -> Audit:
    """Without what is said of the test's registry, which anybody may use."""
    done = hoist.audit("a", "b", sample="whole", repair=repair, config=config)
    return replace(done, findings=[item for item in done.findings if item.kind != "unprotected"])


def test_a_layout(layout: tuple[Config, BlobOf]) -> None:
    config, blob_of = layout
    layers = layers_of(config)
    assert layers["config.json"] == layers["merges.txt"] != layers["model.bin"]
    assert told(audited(config)) == []
    before = {digest: blob_of(digest).read_bytes() for digest in layers.values()}
    # The header of the tar, which no block holds, and a byte of each file.
    flip(blob_of(layers["model.bin"]), 10, 2 * MIB)
    small = before[layers["config.json"]]
    flip(blob_of(layers["config.json"]), small.index(b'{"a"'), small.index(b"m" * 1000))
    done = audited(config, repair=True)
    assert told(done) == [("damaged", "a", f"m/one:v1/{path}") for path in ("config.json", "merges.txt", "model.bin")]
    assert done.clean, done.findings
    assert {digest: blob_of(digest).read_bytes() for digest in layers.values()} == before
    blob_of(layers["merges.txt"]).unlink()
    done = audited(config, repair=True)
    assert {item.kind for item in done.findings} == {"missing-file"}
    assert done.clean
    assert {digest: blob_of(digest).read_bytes() for digest in layers.values()} == before
    assert told(audited(config)) == []


def test_a_registry(registry: tuple[Config, BlobOf]) -> None:
    config, blob_of = registry
    layers = layers_of(config)
    assert told(audited(config)) == []
    before = blob_of(layers["model.bin"]).read_bytes()
    flip(blob_of(layers["model.bin"]), 2 * MIB)
    # It takes no second blob of a digest that it believes to have: that is said, with the mend.
    found = only(audited(config, repair=True))
    assert (found.kind, found.repaired) == ("damaged", False)
    assert "a registry takes no blob that it believes to have" in found.not_repaired
    assert blob_of(layers["model.bin"]).read_bytes() != before
    # The mend: gone, it is sent anew.
    blob_of(layers["model.bin"]).unlink()
    blob_of(layers["config.json"]).unlink()
    done = audited(config, repair=True)
    assert {item.kind for item in done.findings} == {"missing-file"}
    assert done.clean, done.findings
    assert blob_of(layers["model.bin"]).read_bytes() == before
    assert told(audited(config)) == []


def test_from_a_registry(registry: tuple[Config, BlobOf], tmp_path: Path) -> None:
    """What lies in layers heals a directory too."""
    config, _ = registry
    flip(tmp_path / "b/m/one/v1/model.bin", 5)
    (tmp_path / "b/m/one/v1/merges.txt").unlink()
    assert len(audited(config, repair=True).findings) == 2
    assert told(audited(config)) == []
    assert (tmp_path / "b/m/one/v1/merges.txt").read_bytes() == MIXED["merges.txt"]


def test_a_damaged_manifest(layout: tuple[Config, BlobOf], tmp_path: Path) -> None:
    config, _ = layout
    index = (tmp_path / "layout/index.json").read_text()
    manifest = tmp_path / "layout/blobs/sha256" / index.partition("sha256:")[2][:64]
    flip(manifest, 20)
    # No listing shows it; it is told all the same.
    assert told(hoist.audit("a", sample="none", config=config)) == [("damaged", "a", "m/one:v1 manifest")]
    found = only(audited(config, repair=True))
    assert "delete the manifest with the storage's own tools" in found.not_repaired
    manifest.unlink()
    assert told(audited(config)) == [("missing-file", "a", "m/one:v1 manifest")]
