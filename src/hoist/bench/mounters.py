"""The mounts that are compared: Hoist's in its modes, and others, each as its own users would run it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from hoist.bench.mounting import Mounter, Place
from hoist.bench.peers.base import Bucket
from hoist.bench.peers.copying import rclone_address
from hoist.bench.subjects import bucket_of

MEMORY = "memory"


def _hoist(*options: str) -> Callable[[Place], Sequence[str]]:
    return lambda place: [sys.executable, "-m", "hoist", "mount", place.storage, str(place.point), *options]


def hoist_environ(place: Place) -> Mapping[str, str]:
    """A cache of the mount's own, which is empty when its folder is."""
    return {"HOIST_CACHE": str(place.scratch / "cache"), "XDG_RUNTIME_DIR": str(place.scratch / "run")}


def _memory(place: Place) -> Sequence[str]:
    return [sys.executable, "-m", "hoist.bench.memory_mount", str(place.point), str(place.size)]


def _bucket(place: Place) -> Bucket:
    return bucket_of(place.config.storage(place.storage), "", place.config.environ)


def _rclone(*options: str) -> Callable[[Place], Sequence[str]]:
    def words(place: Place) -> Sequence[str]:
        address = rclone_address(_bucket(place)).rstrip("/")
        kept = f"--cache-dir={place.scratch / 'rclone'}"
        return ["rclone", "--config=", "mount", address, str(place.point), "--read-only", kept, *options]

    return words


def _s3fs(place: Place) -> Sequence[str]:
    bucket = _bucket(place)
    options = [f"url={bucket.endpoint}", "use_path_request_style", "ro", f"tmpdir={place.scratch}"]
    options += ["public_bucket=1"] if bucket.anonymous else []
    return ["s3fs", bucket.name, str(place.point), "-f", "-o", ",".join(options)]


def _mountpoint(place: Place) -> Sequence[str]:
    bucket = _bucket(place)
    options = ["--endpoint-url", str(bucket.endpoint), "--force-path-style", "--read-only", "--foreground"]
    options += ["--no-sign-request"] if bucket.anonymous else []
    return ["mount-s3", bucket.name, str(place.point), *options]


HOIST = Mounter("hoist", "with the host cache, passthrough", _hoist(), None, hoist_environ)
KEEP_CACHE = Mounter(
    "hoist-keep-cache", "with the host cache, --no-passthrough", _hoist("--no-passthrough"), None, hoist_environ
)
NO_CACHE = Mounter("hoist-no-cache", "--cache off", _hoist("--cache", "off"), None, hoist_environ)
# They show what they brought from the storage.
COUNTED = Mounter("mounted", "hoist mount", _hoist("--metrics", "0"), None, hoist_environ)
COUNTED_NO_CACHE = Mounter(
    "mounted-no-cache", "hoist mount --cache off", _hoist("--metrics", "0", "--cache", "off"), None, hoist_environ
)
OWN = (HOIST, KEEP_CACHE, NO_CACHE)
LEAST = Mounter(MEMORY, "a minimal FUSE daemon that serves from memory", _memory)
PEERS = (
    Mounter("rclone", "rclone mount, --vfs-cache-mode off", _rclone("--vfs-cache-mode=off"), "rclone"),
    Mounter("rclone-full", "rclone mount, --vfs-cache-mode full", _rclone("--vfs-cache-mode=full"), "rclone"),
    Mounter(
        "rclone-streams",
        "rclone mount, off, --vfs-read-chunk-streams 16 --vfs-read-chunk-size 4M",
        _rclone("--vfs-cache-mode=off", "--vfs-read-chunk-streams=16", "--vfs-read-chunk-size=4M"),
        "rclone",
    ),
    Mounter("s3fs", "s3fs as it is", _s3fs, "s3fs"),
    Mounter("mount-s3", "Mountpoint for Amazon S3", _mountpoint, "mount-s3"),
)
