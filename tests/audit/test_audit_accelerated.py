"""What an accelerator holds does not hide what is damaged in the bucket behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hoist.audit.contents import look_at
from hoist.audit.reading import Reading
from hoist.config import EngineConfig
from hoist.progress import Progress
from hoist.read.engine import Engine
from hoist.storage import layout
from hoist.storage.bucket import BucketObjects
from hoist.storage.tree import TreeStorage
from hoist.testing.servers import RadosgwServer
from hoist.transfer.verify import verify_version
from makers import noise, opened, publish, write_files
from storage_fixtures import BUCKET, OpenOn

pytest_plugins = ["storage_fixtures"]

DATA = noise(3 << 20, 7)


def test_damage_behind_an_accelerator(
    radosgw_server: RadosgwServer, open_on: OpenOn, accelerator_of: Callable[[str], str], tmp_path: Path
) -> None:
    url = accelerator_of(f"{radosgw_server.endpoint}/{BUCKET}")
    storage = open_on(radosgw_server, accelerator=(url,))
    assert isinstance(storage, TreeStorage)
    assert isinstance(storage.objects, BucketObjects)
    published = publish(write_files(tmp_path / "m", {"w.bin": DATA}), storage)
    version = published.version
    assert not verify_version(opened(storage), Progress()).damaged
    spoilt = bytearray(DATA)
    spoilt[1 << 20] ^= 1
    storage.objects.put(layout.file_key(version, "w.bin"), bytes(spoilt))
    # A load gets right bytes: those that the accelerator has.
    assert not verify_version(opened(storage), Progress()).damaged
    held = look_at(storage, version, documents=True).held
    assert held
    found = Reading(storage, Engine(EngineConfig(retry_seconds=1.0)), Progress()).whole([held])
    assert [(item.kind, item.path) for item in found] == [("damaged", "w.bin")]
