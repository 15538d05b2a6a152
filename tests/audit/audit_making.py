"""Storages to audit, what breaks them at rest, and what an audit said of them, in short."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import hoist
from hoist.audit.finding import Audit, Finding
from hoist.config import Config, StorageConfig
from hoist.settings import EngineConfig
from makers import noise, write_files

MIB = 1 << 20
FILES = {
    # Of two blocks.
    "unet/model.bin": noise(9 * MIB + 5, 1),
    "vae.bin": noise(2 * MIB, 2),
    "config.json": b'{"a": 1}',
    "empty": b"",
}
SIZE = sum(map(len, FILES.values()))
# Of a size that goes in parts.
LARGE = FILES | {"unet/model.bin": noise(17 * MIB + 5, 3)}


def config_of(*storages: StorageConfig, home: Path, **environ: str) -> Config:
    """A configuration of these storages, that gives up on what is down at once."""
    engine = EngineConfig(retry_seconds=0.5)
    return Config({each.address: each for each in storages}, engine, {"HOME": str(home), **environ})


def folders(home: Path, *names: str) -> Config:
    """A configuration of directories of these names."""
    for name in names:
        (home / name).mkdir()
    return config_of(*(StorageConfig(name, str(home / name)) for name in names), home=home)


def published(config: Config, home: Path, *locations: str, files: Mapping[str, bytes] = FILES) -> Path:
    """The same files under each location; the folder that they came from."""
    source = write_files(home / "source", files)
    for location in locations:
        hoist.publish(source, location, config=config)
    return source


def flip(path: Path, *offsets: int) -> None:
    """Change a bit of each of these bytes, as a disk does: nobody's time stamp or permission stands in the way."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))
    path.chmod(mode)


def told(audit: Audit) -> list[tuple[str, str, str]]:
    """Kind, storage and thing of each finding."""
    return [(item.kind, item.storage, item.what) for item in audit.findings]


def only(audit: Audit) -> Finding:
    """The one finding there is."""
    assert len(audit.findings) == 1, told(audit)
    return audit.findings[0]
