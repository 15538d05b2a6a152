"""A mount for many tests: one model in a directory and in a bucket, mounted once.

A plugin of the modules here (`pytest_plugins`), which import from it too: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mounting import Mount, require_fuse

from hoist.testing.servers import RcloneServer
from makers import directory_storage, noise, publish, write_files

LONG = "n" * 250
FILES = {
    "model.bin": noise(5_000_017, 1),
    "empty": b"",
    "config.json": b'{"a": 1}',
    "unet/weights.bin": noise(1_300_000, 2),
    f"deep/a/b/c/{LONG}": b"long",
    "名前/ünï.txt": "é".encode(),
    "white space/'quote\" &": b"odd",
} | {f"many/{n:04}.txt": str(n).encode() for n in range(400)}


@dataclass(frozen=True)
class Mounted:
    """What is mounted, where its version is, and what its files are."""

    mount: Mount
    version: Path
    files: dict[str, bytes]


@pytest.fixture(scope="session")
def fuse() -> None:
    """Something can be mounted here."""
    require_fuse()


@pytest.fixture(scope="module")
def s3_models(fuse: None, rclone_server: RcloneServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user whose storage `far` is a bucket with the version m/one:v1, tagged stable."""
    return bucket_with(rclone_server, FILES, tmp_path_factory.mktemp("source"))


def bucket_with(server: RcloneServer, files: dict[str, bytes], folder: Path) -> dict[str, str]:
    """A new bucket with one version of these files; the environment that calls it `far`."""
    from uuid import uuid4

    bucket = f"mount-{uuid4().hex[:12]}"
    server.create_bucket(bucket)
    # Its objects are plain files: what a directory storage writes is there.
    storage = directory_storage(server.data_folder / bucket)
    publish(write_files(folder, files), storage, "m/one:v1", tags=["stable"], pack_below=256 << 10)
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "HOIST_STORAGE_FAR_URL": f"s3://{bucket}",
        "HOIST_STORAGE_FAR_ENDPOINT": server.endpoint,
        "HOIST_STORAGE_FAR_REGION": server.region,
        "FOLDER": str(server.data_folder / bucket),
    }


@pytest.fixture(scope="module", params=["directory", "bucket", "bucket without cache"])
def mounted(request: pytest.FixtureRequest, fuse: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """The model mounted from a directory, from a bucket, and from a bucket without a cache on disk."""
    home = tmp_path_factory.mktemp("home")
    if request.param == "directory":
        publish(write_files(home / "source", FILES), directory_storage(home / "store"), "m/one:v1", tags=["stable"])
        mount = Mount(home, (str(home / "store"),), ("-o", "allow_other,umask=022", "--metrics", "0"))
    else:
        env = request.getfixturevalue("s3_models")
        cache = ("--cache", "off") if request.param.endswith("cache") else ()
        mount = Mount(home, ("far",), ("-o", "allow_other,umask=022", "--metrics", "0", *cache), env)
    with mount:
        yield Mounted(mount, mount.point / "m/one/v1", FILES)
