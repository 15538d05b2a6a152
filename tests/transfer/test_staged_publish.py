"""Publishing large files: each byte read once, nothing sent twice, nothing sent that the storage has."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from threading import Event

import pytest
import safetensors.torch
import torch

from hoist.config import StorageConfig
from hoist.errors import Conflict, LocalError, StorageUnavailable
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.storage import memory, open_storage
from hoist.storage.base import Storage
from hoist.storage.multipart import Multipart
from hoist.storage.staging import Body, Part
from hoist.storage.tree import TreeStorage
from hoist.storage.wrap import Counting, Faulty, Wrapper
from hoist.testing.conformance.base import ver
from hoist.testing.servers import RadosgwServer, RcloneServer
from hoist.transfer.moved import Moved
from hoist.transfer.publish import Options, publish_version
from hoist.transfer.scan import find_files
from hoist.transfer.stage import Stager
from hoist.transfer.verify import verify_version
from makers import V1, directory_storage, finish, memory_storage, noise, opened, publish, run_python, write_files
from storage_fixtures import BUCKET, OpenOn

pytest_plugins = ["storage_fixtures"]
MIB = 1 << 20


def big(path: Path, size: int = 40 * MIB, seed: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for step in range(0, size, MIB):
            file.write(noise(min(MIB, size - step), seed * 100_000 + step // MIB))
    return path


def uploads(storage: Storage) -> Multipart:
    assert isinstance(storage, TreeStorage)
    found = storage.objects._uploads()  # type: ignore[attr-defined]
    assert isinstance(found, Multipart)
    return found


def right(storage: Storage, reference: str = "m/one:v1") -> None:
    assert not verify_version(opened(storage, parse_reference(reference)), Progress()).damaged


@pytest.fixture(params=["directory", "memory", "radosgw", "moto", "rclone"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "directory":
        return directory_storage(tmp_path / "models")
    if request.param == "memory":
        return memory_storage()
    open_on = request.getfixturevalue("open_on")
    made = open_on(request.getfixturevalue(f"{request.param}_server"))
    assert isinstance(made, Storage)
    return made


def test_large_and_small_files_together(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "s"
    for number in range(3):
        big(source / f"shard-{number}.bin", 17 * MIB + number, number)
    write_files(source, {"config.json": b"{}", "empty": b""})
    counting = Counting(storage)
    done = publish(source, counting, uploads=tmp_path / "journals")
    assert (done.sent_bytes, done.resumed_bytes, done.copied_bytes) == (done.size, 0, 0)
    assert counting.bytes["put_part"] == 3 * 17 * MIB + 3
    assert counting.calls["put_file"] == 2
    right(storage)
    again = publish(source, storage)
    assert (again.already, again.sent_bytes) == (True, 0)
    assert not any((tmp_path / "journals").glob("*"))


_READ_TWICE = """
import sys
from pathlib import Path
from hoist.progress import Progress
from hoist.storage import memory, open_storage
from hoist.config import StorageConfig
from hoist.model.reference import parse_reference
from hoist.transfer.publish import Options, publish_version
def read_bytes():
    return int(Path("/proc/self/io").read_text().splitlines()[0].split()[1])
source, address = Path(sys.argv[1]), sys.argv[2]
storage = open_storage(StorageConfig("x", address), {})
def publish(source, name):
    before = read_bytes()
    publish_version(source, storage, parse_reference(name), Options(), Progress())
    return read_bytes() - before
# The first publish also reads the modules that it imports.
publish(Path(sys.argv[3]), "warm:v1")
print(publish(source, "m:v1"))
"""


def test_each_byte_is_read_once(tmp_path: Path) -> None:
    source = big(tmp_path / "m.bin", 64 * MIB)
    (tmp_path / "models").mkdir()
    first = big(tmp_path / "first.bin", 17 * MIB, 1)
    read = int(finish(run_python(_READ_TWICE, str(source), str(tmp_path / "models"), str(first))))
    assert 64 * MIB <= read < 64 * MIB + 8 * MIB


_PUBLISH = """
import sys
import time
from pathlib import Path
from hoist.config import StorageConfig
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.storage import memory, open_storage
from hoist.storage.wrap import Latency
from hoist.transfer.publish import Options, publish_version
class Telling(Progress):
    done = 0
    def advance(self, count):
        self.done += count
        print(self.done, flush=True)
        # The last bytes never arrive: however late the kill comes, it hits a publish that is under way.
        if self.done >= Path(source).stat().st_size:
            time.sleep(600)
source, url, endpoint, region, journals, pause = sys.argv[1:]
config = StorageConfig("rgw", url, endpoint=endpoint, region=region)
import os
storage = Latency(open_storage(config, dict(os.environ)), float(pause))
publish_version(Path(source), storage, parse_reference("m/one:v1"), Options(uploads=Path(journals)), Telling())
"""


def killed_publish(server: RadosgwServer, source: Path, url: str, journals: Path, after: int) -> None:
    """Publish, and kill it with SIGKILL when it has told of `after` bytes, and noted that two parts have arrived."""
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    words = (str(source), url, server.endpoint, server.region, str(journals), "0.05")
    process = run_python(_PUBLISH, *words, **keys)
    assert process.stdout
    for line in process.stdout:
        if int(line) >= after:
            break
    # What was told of may all be on its way still.
    while process.poll() is None and sum(file.read_text().count('"number"') for file in journals.iterdir()) < 2:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -9


def test_a_killed_upload_goes_on_where_it_stopped(
    radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path
) -> None:
    source = big(tmp_path / "m.bin", 200 * MIB)
    journals = tmp_path / "journals"
    url = f"s3://{BUCKET}/{tmp_path.name}"
    storage = open_on(radosgw_server, url=url)
    killed_publish(radosgw_server, source, url, journals, 32 * MIB)
    assert list(storage.versions()) == []
    (journal,) = journals.iterdir()
    assert journal.stat().st_mode & 0o777 == 0o600
    assert radosgw_server.secret_key not in journal.read_text()
    (left,) = uploads(storage).open_uploads()
    done = publish(source, storage, uploads=journals)
    assert done.sent_bytes + done.resumed_bytes == done.size
    assert done.resumed_bytes >= 16 * MIB
    assert done.sent_bytes <= 184 * MIB
    right(storage)
    assert list(uploads(storage).open_uploads()) == []
    assert not any(journals.iterdir())
    assert left.key == "m/one/v1/m.bin"


def test_a_changed_source_sends_its_changed_parts_only(
    radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path
) -> None:
    storage = open_on(radosgw_server)
    source = big(tmp_path / "m.bin", 64 * MIB)
    journals = tmp_path / "journals"
    with pytest.raises(StorageUnavailable):
        publish(source, Stopping(storage, "begin"), uploads=journals)
    with source.open("r+b") as file:
        file.seek(20 * MIB)
        file.write(b"another byte")
    done = publish(source, storage, uploads=journals)
    assert (done.sent_bytes, done.resumed_bytes) == (16 * MIB, 48 * MIB)
    right(storage)


def test_a_shorter_source_does_not_keep_parts_of_the_longer(
    radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path
) -> None:
    storage = open_on(radosgw_server)
    journals = tmp_path / "journals"
    source = big(tmp_path / "m.bin", 64 * MIB)
    with pytest.raises(StorageUnavailable):
        publish(source, Stopping(storage, "begin"), uploads=journals)
    big(source, 40 * MIB)
    done = publish(source, storage, uploads=journals)
    assert done.sent_bytes + done.resumed_bytes == 40 * MIB
    right(storage)
    assert list(uploads(storage).open_uploads()) == []


def test_a_journal_that_lies_is_not_believed(radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path) -> None:
    storage = open_on(radosgw_server)
    journals = tmp_path / "journals"
    source = big(tmp_path / "m.bin", 48 * MIB)
    with pytest.raises(StorageUnavailable):
        publish(source, Stopping(storage, "begin"), uploads=journals)
    (journal,) = journals.iterdir()
    lines = journal.read_text().splitlines()
    etags = [line.split('"etag": ')[1] for line in lines[1:]]
    # Each part claims the ETag of another one; the last line was torn.
    turned = [
        line.replace(etag, other) for line, etag, other in zip(lines[1:], etags, etags[1:] + etags[:1], strict=True)
    ]
    journal.write_text("\n".join([lines[0], *turned, turned[0][:30]]))
    done = publish(source, storage, uploads=journals)
    assert (done.sent_bytes, done.resumed_bytes) == (48 * MIB, 0)
    right(storage)


def test_an_upload_that_was_swept_away(radosgw_server: RadosgwServer, open_on: OpenOn, tmp_path: Path) -> None:
    storage = open_on(radosgw_server)
    journals = tmp_path / "journals"
    source = big(tmp_path / "m.bin", 48 * MIB)
    with pytest.raises(StorageUnavailable):
        publish(source, Stopping(storage, "begin"), uploads=journals)
    (left,) = uploads(storage).open_uploads()
    uploads(storage).abort(left.key, left.upload)
    done = publish(source, storage, uploads=journals)
    assert done.sent_bytes == done.size
    right(storage)
    # Between staging and placing.
    other = big(tmp_path / "n.bin", 48 * MIB, 9)
    done = publish(other, Sweeping(storage), "m/two:v1", uploads=journals)
    right(storage, "m/two:v1")


class Stopping(Wrapper):
    """Fails for good at some operation."""

    def __init__(self, inner: Storage, operation: str) -> None:
        super().__init__(inner)
        self._operation = operation

    def before(self, operation: str, size: int) -> None:
        if operation == self._operation:
            raise StorageUnavailable("the network went away")


class Sweeping(Wrapper):
    """Gives up all uploads before a file is placed, as a store's own rules may."""

    def before(self, operation: str, size: int) -> None:
        if operation == "place":
            for left in uploads(self.inner).open_uploads():
                uploads(self.inner).abort(left.key, left.upload)


def fine_tune(path: Path, seed: int) -> Path:
    """A model of eight tensors of 12 MiB, of which `seed` changes the fifth."""
    tensors = {}
    for number in range(8):
        torch.manual_seed(number if number != 4 else 1000 + seed)
        tensors[f"layer.{number}"] = torch.randn(3 << 20)
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, path)
    return path


def test_unchanged_blocks_are_not_sent(storage: Storage, tmp_path: Path) -> None:
    publish(fine_tune(tmp_path / "a/m.safetensors", 1), storage)
    counting = Counting(storage)
    done = publish(fine_tune(tmp_path / "b/m.safetensors", 2), counting, "m/one:v2")
    assert done.sent_bytes + done.copied_bytes == done.size
    if storage.address != "rclone":
        # The tensor that changed, and no more than its neighbours' blocks, too small for parts of their own.
        assert 12 * MIB <= done.sent_bytes <= 24 * MIB
        assert counting.bytes["put_part"] == done.sent_bytes
    right(storage, "m/one:v2")
    # The copy lives on its own.
    storage.remove(next(iter(storage.versions())))
    right(storage, "m/one:v2")


def test_equal_files_of_another_model_are_not_sent(storage: Storage, tmp_path: Path) -> None:
    source = fine_tune(tmp_path / "a/m.safetensors", 1)
    publish(source, storage, "vae/one:v1")
    done = publish(source, storage, "pipeline/two:v1")
    if storage.address != "rclone":
        assert (done.sent_bytes, done.copied_bytes) == (0, done.size)
    right(storage, "pipeline/two:v1")
    # Its bytes were not kept while it was hashed: they must have been there until they were.
    (entry,) = opened(storage, parse_reference("pipeline/two:v1")).files.values()
    assert entry.digest == "sha256:" + hashlib.sha256(source.read_bytes()).hexdigest()


def test_an_equal_file_in_a_directory_takes_no_room(tmp_path: Path) -> None:
    storage = directory_storage(tmp_path / "models")
    source = big(tmp_path / "m.bin")
    publish(source, storage, "a/one:v1")
    publish(source, storage, "b/two:v1")
    assert (tmp_path / "models/a/one/v1/m.bin").samefile(tmp_path / "models/b/two/v1/m.bin")


def test_a_store_that_copies_nothing_is_sent_everything(
    rclone_server: RcloneServer, open_on: OpenOn, tmp_path: Path
) -> None:
    storage = open_on(rclone_server)
    publish(fine_tune(tmp_path / "a/m.safetensors", 1), storage)
    done = publish(fine_tune(tmp_path / "b/m.safetensors", 2), storage, "m/one:v2")
    assert done.sent_bytes == done.size
    right(storage, "m/one:v2")


def test_a_directory_goes_on_with_what_is_there(tmp_path: Path) -> None:
    storage = directory_storage(tmp_path / "models")
    source = big(tmp_path / "m.bin")
    with pytest.raises(StorageUnavailable):
        publish(source, Stopping(storage, "begin"))
    with source.open("r+b") as file:
        file.seek(20 * MIB)
        file.write(b"another byte")
    done = publish(source, storage)
    assert (done.sent_bytes, done.resumed_bytes) == (16 * MIB, 24 * MIB)
    right(storage)
    assert [path.name for path in (tmp_path / "models/.hoist/tmp").iterdir()] == ["lock"]


def test_a_conflict_shows_before_a_byte_is_sent(storage: Storage, tmp_path: Path) -> None:
    source = big(tmp_path / "m.bin", 17 * MIB)
    storage.begin(ver("m/one:v1"), "sha256:" + "0" * 64)
    counting = Counting(storage)
    with pytest.raises(Conflict, match="unfinished"):
        publish(source, counting)
    assert counting.bytes.get("put_part", 0) == 0
    publish(source, counting, replace_unfinished=True)
    right(storage)


def test_a_conflict_after_all_leaves_nothing(tmp_path: Path) -> None:
    """Another publisher takes the label while this one sends: the look before did not see it."""
    storage = directory_storage(tmp_path / "models")
    source = big(tmp_path / "m.bin")

    class Losing(Wrapper):
        def before(self, operation: str, size: int) -> None:
            if operation == "begin":
                publish(write_files(tmp_path / "o", {"a": b"1"}), self.inner)

    with pytest.raises(Conflict, match="never changes"):
        publish(source, Losing(storage))
    assert [path.name for path in (tmp_path / "models/.hoist/tmp").iterdir()] == ["lock"]
    right(storage)


def test_passing_errors_are_tried_again(tmp_path: Path) -> None:
    storage = memory_storage()
    faulty = Faulty(storage, fail=0.5, only=frozenset({"put_part"}), seed=3)
    done = publish(big(tmp_path / "m.bin", 100 * MIB), faulty)
    assert done.sent_bytes == done.size
    right(storage)
    hopeless = Faulty(storage, fail=1.0, only=frozenset({"put_part"}))
    with pytest.raises(StorageUnavailable, match=r"tried for 0\.5 s"):
        publish(big(tmp_path / "n.bin", seed=7), hopeless, "m/one:v2", retry_seconds=0.5)


class Telling(Progress):
    def __init__(self) -> None:
        self.done = 0

    def advance(self, count: int) -> None:
        self.done += count


def test_progress_adds_up_whatever_happens(tmp_path: Path) -> None:
    telling = Telling()
    faulty = Faulty(memory_storage(), fail=0.3, only=frozenset({"put_part"}), seed=3)
    publish_version(big(tmp_path / "m.bin", 100 * MIB), faulty, V1, Options(), telling)
    assert telling.done == 100 * MIB


def test_progress_takes_back_what_has_to_go_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telling = Telling()
    broken = iter([True, False, True])
    put = memory._StagedBytes.put

    def break_off(staged: memory._StagedBytes, part: Part, body: Body) -> bool:
        views = body()
        next(views)
        next(views)
        if next(broken, False):
            raise StorageUnavailable("the connection was reset")
        return put(staged, part, body)

    monkeypatch.setattr(memory._StagedBytes, "put", break_off)
    publish_version(big(tmp_path / "m.bin"), memory_storage(), V1, Options(), telling)
    assert telling.done == 40 * MIB


@pytest.mark.parametrize("size", [b"shorter", None])
def test_a_source_that_changes_while_it_is_sent(tmp_path: Path, size: bytes | None) -> None:
    source = big(tmp_path / "m.bin")
    storage = directory_storage(tmp_path / "models")

    class Meddling(Wrapper):
        def before(self, operation: str, size_: int) -> None:
            if operation == "put_part":
                os.utime(source, (1, 1)) if size is None else source.write_bytes(size)

    with pytest.raises(LocalError):
        publish(source, Meddling(storage))
    assert list(storage.versions()) == []
    big(source)
    publish(source, storage)
    right(storage)


_PEAK = """
import sys
from pathlib import Path
from makers import directory_storage, publish
publish(Path(sys.argv[1]), directory_storage(Path(sys.argv[2])))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    for number in range(6):
        with (source / f"{number}.bin").open("wb") as file:
            file.truncate(200 * MIB)
            file.write(str(number).encode())
    assert int(finish(run_python(_PEAK, str(source), str(tmp_path / "models")))) < 512 << 10


def test_ctrl_c_ends_the_senders(tmp_path: Path) -> None:
    source = big(tmp_path / "m.bin")
    storage = memory_storage()
    staging = storage.staging(ver("m:v1"), [40 * MIB])
    assert staging is not None
    stop = Event()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Stager(staging, Moved(Progress()), stop) as stager:
        stager.stage(find_files(source)[0])
        raise KeyboardInterrupt
    assert stop.is_set()
    assert time.monotonic() - began < 60


def test_no_keys_no_staging(tmp_path: Path) -> None:
    config = StorageConfig("public", "s3://nowhere", endpoint="http://127.0.0.1:9", anonymous=True)
    with open_storage(config, {"HOME": str(tmp_path)}) as storage:
        assert storage.staging(ver("m:v1"), [1 << 30]) is None
