"""What the function benchmark measures with: fixtures published once, as a directory and, by nginx, as a public bucket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hoist import verbs
from hoist.bench.fixtures import FIXTURES, Fixture, build
from hoist.bench.function_server import Servers
from hoist.bench.image_files import write_bf16
from hoist.bench.stage import isolated_config
from hoist.config import Config
from hoist.pagecache import cached_fraction
from hoist.testing.servers.nginx import NginxBucket

MIB = 1 << 20
DIRECTORY, BUCKET = "nas", "oss"
ONE, OTHER, LARGE, SMALL = "one", "other", "large", "small"
"""Two fine-tunes of one family, a checkpoint of twice their size, and one that is there to be switched to."""
_FIXTURES = {ONE: "sd15/anything-v5.0", OTHER: "sd15/deliberate", LARGE: "sd15/anything-v4.5"}
_SMALL_BYTES = 4 * MIB


@dataclass
class Stage:
    """The models' files and sizes by name, where they are published, and who starts servers."""

    config: Config
    web: NginxBucket
    servers: Servers
    home: Path
    files: dict[str, Path] = field(default_factory=dict)
    _caches: int = 0

    def publish(self, name: str, file: Path) -> None:
        """Publish a file; what is kept of it is what the storage has."""
        target = verbs.publish(str(file), f"{DIRECTORY}//bench/{name}:v1", config=self.config)
        assert target.size == file.stat().st_size
        self.files[name] = self.home / "www" / "models" / "bench" / name / "v1" / file.name
        file.unlink()

    def size(self, name: str) -> int:
        """Bytes of a model's file."""
        return self.files[name].stat().st_size

    def new_cache(self) -> dict[str, str]:
        """The environment of somebody who has verified nothing here yet."""
        self._caches += 1
        return {"XDG_CACHE_HOME": str(self.home / f"cache-{self._caches}")}

    def warm(self, name: str) -> float:
        """Have a model's file in the page cache; the part of it that is."""
        with self.files[name].open("rb") as file:
            while file.read(8 * MIB):
                pass
        return cached_fraction(self.files[name])


@contextmanager
def set_function_stage(scale: float, names: Sequence[str], folder: Path | None) -> Iterator[Stage]:
    """Publish the models `names`, scaled, and start what serves them. Raises LocalError where nginx is missing."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="hoist-bench-", dir=folder)))
        (home / "www" / "models").mkdir(parents=True)
        web = stack.enter_context(NginxBucket(home / "www"))
        web.create_bucket("models")
        text = f'[storage.{DIRECTORY}]\nurl = "{home / "www" / "models"}"\n'
        text += f'[storage.{BUCKET}]\nurl = "s3://models"\nendpoint = "{web.endpoint}"\nanonymous = true\n'
        config = isolated_config(home, text, None)
        servers = stack.enter_context(Servers(home / "servers", config.environ))
        stage = Stage(config, web, servers, home)
        for name in names:
            if name in _FIXTURES:
                stage.publish(name, build(_fixture(name), home / "files", scale=scale))
        if SMALL in names:
            stage.publish(SMALL, write_bf16(home / "files" / "small.safetensors", _SMALL_BYTES, 0))
        yield stage


def locations(storage: str, *names: str) -> dict[str, str]:
    """Where models are, by name."""
    return {name: f"{storage}//bench/{name}:v1" for name in names}


def differing_bytes(old: Path, new: Path) -> int:
    """Bytes of tensors of `new` of which `old` has none that is equal, whatever its name; read from the files themselves."""
    import torch
    from blake3 import blake3
    from safetensors.torch import load_file

    def digests(path: Path) -> list[tuple[bytes, int]]:
        found = []
        for tensor in load_file(path).values():
            data: Any = tensor.reshape(-1).view(torch.uint8).numpy()
            found.append((blake3(data).digest(), tensor.nbytes))
        return found

    known = {digest for digest, _ in digests(old)}
    return sum(size for digest, size in digests(new) if digest not in known)


def _fixture(name: str) -> Fixture:
    return next(fixture for fixture in FIXTURES if fixture.model == _FIXTURES[name])
