"""A registry as a folder: files are read out of the layers of images, by range."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from mounting import Mount

from hoist.config import load_config
from hoist.image.verbs import build
from hoist.storage import open_storage
from hoist.testing.servers import DockerRegistry
from makers import files_below, noise, publish, write_files

pytest_plugins = ("mount_fixtures",)
MIB = 1 << 20
FILES = {
    "unet/weights.bin": noise(20 * MIB + 17),
    "vae.bin": noise(5 * MIB, 1),
    "config.json": b'{"a": 1}',
    "empty": b"",
    "名前/ünï.txt": "é".encode(),
}


def test_reads_right(fuse: None, docker_registry: DockerRegistry, tmp_path: Path) -> None:
    """A version that shares layers with another one, and an image that was built."""
    prefix = f"{docker_registry.host}/{uuid4().hex}"
    changed = FILES | {"vae.bin": noise(5 * MIB, 2), "config.json": b"[]"}
    config = load_config({"HOME": str(tmp_path)}, tmp_path)
    source = write_files(tmp_path / "source", FILES)
    with open_storage(config.storage(f"oci://{prefix}"), config.environ) as storage:
        publish(source, storage, "m/one:v1", tags=["stable"])
        publish(write_files(source, changed), storage, "m/one:v2")
    build([f"oci://{prefix}//m/one:v1"], f"{prefix}/app:v1", config=config)
    for address, versions in (
        (f"oci://{prefix}", {"v1": FILES, "v2": changed, "stable": FILES}),
        (f"oci://{prefix}/app:v1", {"v1": FILES}),
    ):
        with Mount(tmp_path, (address,)) as mount:
            for label, files in versions.items():
                folder = mount.point / "m/one" / label
                # In the middle first: that range alone is asked for.
                fd = os.open(folder / "unet/weights.bin", os.O_RDONLY)
                try:
                    assert os.pread(fd, 1000, 9 * MIB + 5) == files["unet/weights.bin"][9 * MIB + 5 :][:1000]
                finally:
                    os.close(fd)
                assert files_below(folder) == files
