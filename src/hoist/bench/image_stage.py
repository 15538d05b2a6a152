"""What the image benchmark works on: files, a directory with two versions of them, an OCI layout, and fresh registries.

Everything lies in one temporary folder, and everything that is started is ended.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hoist.bench.image_files import Blob, write_bf16, write_layout
from hoist.bench.image_tools import LABEL, MODEL, Work
from hoist.bench.load import read_through
from hoist.bench.podman import Podman
from hoist.bench.stage import isolated_config
from hoist.config import Config, load_config
from hoist.errors import LocalError, UsageError
from hoist.testing.servers import DockerRegistry
from hoist.verbs import publish

FILES = 4
SIZE, LOAD_SIZE = 1 << 30, 2 << 30
CHANGED = "v2"
DIRECTORY, TARGET = "nas", "target"
# The files and what is published of them, the layout, a registry with both versions, what is pulled of it, and reserve.
_ROOM = 10
_LINK_BYTES = 1 << 20


@dataclass(frozen=True)
class ImageStage:
    """`files` and `changed` are folders of four files of which the last differs; `changed_blob` is its layer.

    The directory storage `nas` of `config` has both, as versions of MODEL, LABEL and CHANGED.
    """

    home: Path
    config: Config
    size: int
    load_size: int
    files: Path
    changed: Path
    layout: Path
    layers: list[Blob]
    changed_blob: Blob
    podman: Podman

    @property
    def target(self) -> Path:
        """Where what is pulled goes: gone after each turn."""
        return self.home / TARGET

    def work(self, host: str, prefix: str = "models") -> Work:
        """The image of the four files in a registry."""
        return Work(host, self.files, self.layout, self.target, prefix=prefix)

    @contextmanager
    def registry(self, like: Path | None = None) -> Iterator[DockerRegistry]:
        """A registry on a port of its own, empty or with what the folder `like` of another one has, gone afterwards.

        Nothing is waiting to be written to the disk when it begins: who comes later does not pay for who came before.
        """
        folder = self.home / "registry"
        if like:
            shutil.copytree(like, folder, copy_function=_copy)
        os.sync()
        try:
            with DockerRegistry(folder) as server:
                yield server
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, server: DockerRegistry, name: str) -> Path:
        """A copy of what a registry has, as `registry` takes it."""
        kept = self.home / name
        shutil.copytree(server.data_folder, kept, copy_function=_copy)
        return kept

    def empty_target(self) -> None:
        """Take away what was pulled."""
        shutil.rmtree(self.target)

    def warm(self, *folders: Path) -> None:
        """Bring all files of the folders into the page cache."""
        for folder in folders:
            for path in folder.rglob("*"):
                if path.is_file():
                    read_through(path)


@contextmanager
def set_image_stage(scale: float, folder: Path | None, say: Callable[[str], None]) -> Iterator[ImageStage]:
    """Make it; `scale` 1 is 1 GiB in four files. Raises UsageError, LocalError where there is no room or no registry."""
    if not 0 < scale <= 1:
        raise UsageError(f"the scale is above 0 and at most 1, not {scale:g}")
    reason = DockerRegistry.unavailable()
    if reason:
        raise LocalError(reason)
    size = int(scale * SIZE)
    with tempfile.TemporaryDirectory(prefix="hoist-images-", dir=folder) as name:
        home = Path(name)
        need, free = _ROOM * size, shutil.disk_usage(home).free
        if free < need:
            where = home.parent
            raise LocalError(f"{where} has {free >> 20} MiB free, this needs {need >> 20}: give another --folder")
        say(f"making {FILES} files of bf16, {size / 2**30:.2f} GiB")
        with Podman(home / "podman") as podman:
            yield _set(home, size, int(scale * LOAD_SIZE), podman)


def _set(home: Path, size: int, load_size: int, podman: Podman) -> ImageStage:
    (home / DIRECTORY).mkdir()
    config = isolated_config(home, f'[storage.{DIRECTORY}]\nurl = "{home / DIRECTORY}"\n', None)
    # What Hoist notes of registries and of what it has verified is this benchmark's own, and goes with it.
    config = load_config({**config.environ, "XDG_CACHE_HOME": str(home / "cache"), "HOIST_CACHE": "off"}, home)
    paths = four_files(home / "files", size)
    changed = home / "changed"
    changed.mkdir()
    for path in paths[:-1]:
        os.link(path, changed / path.name)
    write_bf16(changed / paths[-1].name, size // FILES, FILES + 1)
    layers = write_layout(home / "layout", paths, LABEL)
    (blob,) = write_layout(home / "changed-layout", [changed / paths[-1].name], CHANGED)
    for source, label in ((home / "files", LABEL), (changed, CHANGED)):
        publish(source, f"{DIRECTORY}//{MODEL}:{label}", config=config)
    return ImageStage(home, config, size, load_size, home / "files", changed, home / "layout", layers, blob, podman)


def four_files(folder: Path, size: int, seed: int = 0) -> list[Path]:
    """Four files of bf16 in `folder`, of `size` bytes together."""
    return [
        write_bf16(folder / f"model-{n:05d}-of-{FILES:05d}.safetensors", size // FILES, seed + n)
        for n in range(1, FILES + 1)
    ]


def _copy(source: str, target: str) -> None:
    """A large file is linked: a registry never writes to a blob again. What is small it does."""
    if Path(source).stat().st_size >= _LINK_BYTES:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
