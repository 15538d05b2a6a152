"""A model in a bucket that counts what it sends, and the configuration of who starts a fleet there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import hoist
from hoist.fleet.instance import LOADED, Instance
from hoist.testing.servers.nginx import NginxBucket
from makers import SOURCE, Raw, noise, safetensors_bytes, write_files

HERE = Path(__file__).parent
LOCATION = "here//sd15/anything:v1"


def publish_model(folder: Path, parts: Mapping[str, int], label: str = "v1") -> int:
    """Publish files of so many MiB below `folder / "bucket"`, as the nginx of a bucket serves them; their bytes."""
    source = folder / f"source-{label}"
    files = {"config.json": b'{"kind": "test"}'}
    for number, (name, mebibytes) in enumerate(parts.items(), hash_of(label)):
        data = noise(1 << 20, number)
        files[name] = safetensors_bytes([Raw(f"t{i}", "F32", (1 << 18,), _turned(data, i)) for i in range(mebibytes)])
    write_files(source, files)
    (folder / "bucket" / "models").mkdir(parents=True, exist_ok=True)
    hoist.publish(source, f"{folder / 'bucket' / 'models'}//sd15/anything:{label}")
    return sum(path.stat().st_size for path in source.iterdir())


def hash_of(label: str) -> int:
    """A number for a label, the same in each run."""
    return int.from_bytes(label.encode(), "big")


def _turned(data: bytes, by: int) -> bytes:
    """Other bytes each time, so that no block is like another; cheaper than new noise."""
    return data[by:] + data[:by]


def environ_of(server: NginxBucket, home: Path, **more: str) -> dict[str, str]:
    """The variables of a user whose storage `here` is the server's bucket, and whose host cache is below `home`."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": f"{SOURCE}:{HERE}",
        "HOIST_STORAGE_HERE_URL": "s3://models",
        "HOIST_STORAGE_HERE_ENDPOINT": server.endpoint,
        "HOIST_STORAGE_HERE_ANONYMOUS": "true",
        "HOIST_CACHE": str(home / "blocks"),
        **more,
    }


def is_there(pid: int) -> bool:
    """Whether a process lives; one that has ended and is not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(*pids: int, seconds: float = 30) -> None:
    """Wait until these processes have ended."""
    until = time.monotonic() + seconds
    while left := [pid for pid in pids if is_there(pid)]:
        assert time.monotonic() < until, f"{left} are still there"
        time.sleep(0.02)


def loaded_pids(instances: Sequence[Instance]) -> list[int]:
    """The processes of those that are loaded."""
    return [each.pid for each in instances if each.state == LOADED and each.pid is not None]
