"""The main job on this machine, start to end: make checkpoints, publish them to a directory, a bucket and a registry
of images where there is one, switch.

Everything lies in one temporary folder, and everything it starts, it ends.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoist.accelerator.origin import parse_origin
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Settings
from hoist.bench.fixtures import FIXTURES, Fixture, build
from hoist.bench.machine import machine_facts
from hoist.bench.measuring import available_memory
from hoist.bench.records import make_record
from hoist.bench.stage import isolated_config
from hoist.bench.switch import Options, Target, run_switches
from hoist.bench.switch_function import run_function_switches
from hoist.bench.table import is_switch
from hoist.config import Config
from hoist.errors import LocalError
from hoist.progress import Progress
from hoist.testing.servers import DockerRegistry, NginxBucket
from hoist.testing.servers.ports import free_port
from hoist.transfer.publish import Published
from hoist.verbs import publish, verify

if TYPE_CHECKING:
    from hoist.testing.servers import S3Server

DEFAULT_SCALE = 0.2
BUCKET = "models"
IMAGE, ACCELERATED = "image", "accl"
# Of images some are enough: pulling takes long, and so the demo would. A small one, a zip, and the largest.
IN_IMAGES = ("sd15/anything-v5.0", "sd15/pastelmix", "sdxl/sd-xl-base")
# The files, the directory and the bucket; and the registry, and what is pulled of it.
_ROOM, _ROOM_IMAGES = 3, 5
# What an accelerator's cache takes at least.
_SLICES = 256 << 20
# A node of radosgw keeps the demo's objects in memory: it needs them to fit several times.
_MEMORY_FACTOR = 4
_MEMORY_FLOOR = 2 << 30


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo shows: the records, who served the bucket, the publishes by storage, and the time it all took."""

    records: list[dict[str, Any]]
    server: str
    published: dict[str, list[Published]]
    same_digests: bool
    real_sizes: dict[str, float]
    seconds: float


def run_demo(
    *,
    scale: float = DEFAULT_SCALE,
    server: str | None = None,
    folder: Path | None = None,
    fixtures: Sequence[Fixture] = FIXTURES,
    options: Options | None = None,
    images: bool = True,
    function: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Demo:
    """Run it. `scale` shrinks the models' widths; `server` is rclone, radosgw or moto (default: the most real one that
    is here); `folder` is where the temporary folder is made; `options` are those of the switch; `images`: in a
    registry too, where there is one; `function`: the switches are those of a served function, from an accelerator too
    where nginx is installed; `say` is told of each step.

    Raises LocalError where there is no room or no server, and what the verbs may.
    """
    began = time.monotonic()
    shown = progress or Progress()
    options = replace(options or Options(), folder=folder)
    size = sum(fixture.size_at(scale) for fixture in fixtures)
    with (
        tempfile.TemporaryDirectory(prefix="hoist-demo-", dir=folder) as name,
        _serve(server, size) as s3,
        _serve_images(Path(name) / "images", images) as registry,
        _serve_accelerator(Path(name) / "slices", s3, size, function) as accelerator,
    ):
        home = Path(name)
        _check_room(home, (_ROOM_IMAGES if registry else _ROOM) * size)
        say(f"making {len(fixtures)} checkpoints of real Stable Diffusion layout, {size / 2**30:.2f} GiB")
        shown.begin("making checkpoints", size)
        files = [build(fixture, home / "files", scale=scale, on_progress=shown.advance) for fixture in fixtures]
        shown.end()
        config = _configure(home, s3, registry, accelerator)
        pairs = list(zip(fixtures, files, strict=True))
        in_images = [pair for pair in pairs if pair[0].model in IN_IMAGES] or pairs[:1]
        published: dict[str, list[Published]] = {}
        for storage, chosen in {"nas": pairs, "oss": pairs, **({IMAGE: in_images} if registry else {})}.items():
            say(f"publishing {len(chosen)} of them to {storage} ({where_of(storage, s3.name)})")
            published[storage] = _publish(chosen, storage, config, shown)
        what = "a function" if function else "Hoist"
        say(f"switching from model to model, first and second time, with {what} and with a plain one")
        image_size = sum(fixture.size_at(scale) for fixture, _ in in_images) if registry else 0
        if accelerator:
            say("filling the accelerator: it is one for many instances, and has what others have asked for")
            for fixture in fixtures:
                verify(f"{ACCELERATED}//{fixture.model}:{fixture.version}", config=config)
        targets = _targets(s3, registry, accelerated=accelerator is not None)
        ways, image_ways = (2 * (8 + 2 * bool(accelerator)), 4) if function else (2 * 4, 6)
        shown.begin("switching", ways * size + image_ways * image_size)
        run = run_function_switches if function else run_switches
        records = run(targets, config, options, _advancing(shown, options.repeat))
        shown.end()
        if images and registry is None:
            missing = {"storage": IMAGE, "kind": IMAGE, "loader": IMAGE, "skipped": DockerRegistry.unavailable()}
            records.append(make_record("switch", machine_facts(), missing))
        same = len({(item.version, item.digest) for items in published.values() for item in items}) == len(fixtures)
        real = {fixture.file_name: fixture.listed_gib for fixture in fixtures}
        return Demo(records, s3.name, published, same, real, time.monotonic() - began)


def _publish(chosen: Sequence[tuple[Fixture, Path]], storage: str, config: Config, shown: Progress) -> list[Published]:
    # Each byte is read and digested, then sent.
    shown.begin(f"publishing to {storage}", 2 * sum(file.stat().st_size for _, file in chosen))
    found = [
        publish(file, f"{storage}//{fixture.model}:{fixture.version}", config=config, progress=_Part(shown))
        for fixture, file in chosen
    ]
    shown.end()
    return found


def _targets(s3: S3Server, registry: DockerRegistry | None, *, accelerated: bool) -> list[Target]:
    """What is switched from, each with the folder whose page cache can be emptied: objects of an rclone server and of a
    registry are plain files here."""
    targets = [Target("nas"), Target("oss", s3.data_folder / BUCKET if s3.name == "rclone" else None)]
    targets += [Target(IMAGE, registry.data_folder)] if registry else []
    return [*targets, Target(ACCELERATED)] if accelerated else targets


def where_of(storage: str, server: str) -> str:
    """What one of the demo's storages is, in words."""
    return {"nas": "a directory", IMAGE: "container images in a registry"}.get(storage, f"a bucket on {server}")


class _Part(Progress):
    """Advances a phase that is under way, and begins and ends none."""

    def __init__(self, whole: Progress) -> None:
        self.advance = whole.advance  # type: ignore[method-assign]


def _advancing(progress: Progress, repeat: int) -> Callable[[dict[str, Any]], None]:
    def note(record: dict[str, Any]) -> None:
        if is_switch(record):
            progress.advance(record["size"] // repeat)

    return note


@contextmanager
def _serve(wanted: str | None, size: int) -> Iterator[S3Server]:
    """The S3 server of the demo, with an empty bucket."""
    from hoist.testing.servers import SERVERS

    if wanted is None:
        roomy = available_memory() > _MEMORY_FACTOR * size + _MEMORY_FLOOR
        wanted = "radosgw" if roomy and SERVERS["radosgw"].unavailable() is None else "rclone"
    if wanted not in SERVERS:
        raise LocalError(f"there is no local server {wanted!r}; there are {', '.join(SERVERS)}")
    with SERVERS[wanted]() as server:
        server.create_bucket(BUCKET)
        yield server


@contextmanager
def _serve_images(folder: Path, wanted: bool) -> Iterator[DockerRegistry | None]:
    """The registry of the demo, with its data in `folder`; None where it is not wanted or not installed."""
    if not wanted or DockerRegistry.unavailable():
        yield None
        return
    with DockerRegistry(folder) as registry:
        yield registry


@contextmanager
def _serve_accelerator(folder: Path, s3: S3Server, size: int, wanted: bool) -> Iterator[str | None]:
    """The URL of an accelerator before the bucket, with its cache in `folder`; None where it is not wanted, or no nginx."""
    if not wanted or NginxBucket.unavailable():
        yield None
        return
    address = f"127.0.0.1:{free_port()}"
    settings = Settings(parse_origin(ACCELERATED, f"{s3.endpoint}/{BUCKET}"), address, folder, 2 * size + _SLICES)
    with Accelerator(settings):
        yield f"http://{address}"


def _check_room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need:
        raise LocalError(
            f"{folder.parent} has {free / 2**30:.1f} GiB free, the demo needs {need / 2**30:.1f}: "
            "give a smaller --scale or another --folder"
        )


def _configure(home: Path, s3: S3Server, registry: DockerRegistry | None, accelerator: str | None) -> Config:
    """A hoist.toml of the demo's own, and an environment that leads only to it."""
    (home / "nas").mkdir()
    nas, oss = home / "nas", f'url = "s3://{BUCKET}"\nendpoint = "{s3.endpoint}"\nregion = "{s3.region}"'
    image = f'[storage.{IMAGE}]\nurl = "oci://{registry.host}/models"\n' if registry else ""
    accl = f'\n[storage.{ACCELERATED}]\n{oss}\naccelerator = "{accelerator}"\n' if accelerator else ""
    return isolated_config(home, f'[storage.nas]\nurl = "{nas}"\n\n[storage.oss]\n{oss}\n\n{image}{accl}', s3)
