"""Two regions that hold the same versions, each of which can be lost, as one logical storage `models`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hoist.testing.servers import FaultServer, FolderOrigin


@dataclass(frozen=True)
class Regions:
    """The servers of both, and the environment of a user who reads `models` from either: `eu` first."""

    eu: FaultServer
    us: FaultServer
    env: Mapping[str, str]


@contextmanager
def two_regions(served: Path, bucket: str = "models") -> Iterator[Regions]:
    """`served` has a folder that is the bucket, which is a directory storage."""
    with FaultServer(FolderOrigin(served)) as eu, FaultServer(FolderOrigin(served)) as us:
        env = {"HOIST_STORAGE_MODELS_KIND": "any", "HOIST_STORAGE_MODELS_MEMBERS": "eu,us"}
        for name, server in (("EU", eu), ("US", us)):
            env |= {
                f"HOIST_STORAGE_{name}_URL": f"s3://{bucket}",
                f"HOIST_STORAGE_{name}_ENDPOINT": server.endpoint,
                f"HOIST_STORAGE_{name}_ANONYMOUS": "true",
            }
        yield Regions(eu, us, env)
