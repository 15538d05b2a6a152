"""The paperwork of large models: its benchmark, and that reading it takes little memory at full size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hoist.bench.catalog import run_catalog
from hoist.bench.comparison import load_markdown, load_tables
from hoist.bench.small_files import run_small_files
from hoist.bench.startup import run_startup
from hoist.bench.targets import target_rows
from hoist.cli import main
from hoist.errors import UsageError
from hoist.testing.servers import RcloneServer
from makers import finish, run_python

MIB = 1 << 20
_READ = """
import gc, json, random, tracemalloc
from hoist.model.blocks import BlockTable, file_blocks
from hoist.model.cut import cut
from hoist.model.manifest import FileEntry, Manifest
from hoist.model.reference import Reference
from hoist.read.listing import list_versions
from hoist.read.plan import plan_file
from hoist.read.version import open_version
from hoist.storage.base import Version
from hoist.storage.memory import MemoryObjects
from hoist.storage.tree import TreeStorage
from hoist.storage import layout

FILES, BYTES = {files}, {size}
noise = random.Random(0)
lengths = cut(BYTES)
tables = [
    file_blocks("sha256:" + noise.randbytes(32).hex(), lengths, [noise.randbytes(32) for _ in lengths]) for _ in range(FILES)
]
table = BlockTable.build(tables).to_bytes()
entries = [FileEntry(f"shards/{{n:05d}}.safetensors", BYTES, each.file_digest) for n, each in enumerate(tables)]
manifest, config = Manifest.build(entries, table)
storage = TreeStorage(MemoryObjects(), "nas")
version = Version("m/large", "v1")
storage.objects.put(layout.blob_key(version, manifest.blocks.digest), table)
storage.objects.put(layout.manifest_key(version), manifest.data)
blocks = FILES * len(lengths)
documents = len(table) + len(manifest.data)
del tables, table, entries, manifest
gc.collect()
tracemalloc.start()
opened = open_version(storage, Reference("m/large", "v1"))
requests = 0
for path in opened.files:
    source = opened.source(path)
    requests += len(plan_file(source.blocks, source.traits.request_bytes).requests)
listed = list_versions(storage)
kept, peak = tracemalloc.get_traced_memory()
found = {{"blocks": blocks, "documents": documents, "requests": requests, "kept": kept, "peak": peak}}
print(json.dumps(found | {{"files": listed[0].files, "size": listed[0].size}}))
"""


@pytest.mark.parametrize(
    ("files", "size", "most"),
    [(10_000, 100_000_000, 64 * MIB), (1, 10**12, 32 * MIB)],
    ids=["10,000 files", "one file"],
)
@pytest.mark.long
def test_a_terabyte_s_paperwork_is_read_in_little_memory(files: int, size: int, most: int) -> None:
    found = json.loads(finish(run_python(_READ.format(files=files, size=size))))
    assert (found["files"], found["size"]) == (files, files * size)
    assert found["blocks"] >= 119_000
    assert found["requests"] >= found["size"] // (16 * MIB)
    assert found["documents"] < 8 * MIB
    assert found["peak"] < most
    assert found["kept"] < most // 2


def left_in(folder: Path) -> list[Path]:
    """The files of a storage, but for the lock that keeps its writers apart, which stays."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.long
def test_a_catalogue_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    records = run_catalog(str(tmp_path), files=20, file_bytes=40 * MIB)
    steps = {record["step"]: record for record in records}
    assert steps["cut"]["blocks"] >= 20 * 6
    assert steps["inspect: every header"]["tensors"] >= 20 * 2
    assert steps["a plan for each file"]["requests"] >= 20 * 40 // 16
    assert {"publish: documents and markers", "open: manifest and block table", "list", "remove"} <= set(steps)
    assert all(record["bench"] == "catalog" and record["files"] == 20 for record in records)
    assert all(record["seconds"] > 0 and record["peak_bytes"] >= 0 for record in records)
    assert left_in(tmp_path) == []


def test_a_bucket_s_catalogue_has_no_headers_to_inspect(
    rclone_server: RcloneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclone_server.create_bucket("catalogue")
    for name, value in (
        ("HOIST_ENDPOINT", rclone_server.endpoint),
        ("HOIST_REGION", rclone_server.region),
        ("AWS_ACCESS_KEY_ID", rclone_server.access_key),
        ("AWS_SECRET_ACCESS_KEY", rclone_server.secret_key),
    ):
        monkeypatch.setenv(name, value)
    steps = [record["step"] for record in run_catalog("s3://catalogue", files=3, file_bytes=20 * MIB)]
    assert "inspect: every header" not in steps
    assert steps[-1] == "remove"


@pytest.mark.parametrize(("files", "size"), [(0, 40 * MIB), (1, 1000)])
def test_a_catalogue_of_nothing_is_refused(tmp_path: Path, files: int, size: int) -> None:
    with pytest.raises(UsageError):
        run_catalog(str(tmp_path), files=files, file_bytes=size)


@pytest.mark.long
def test_small_files_are_measured_and_leave_nothing(tmp_path: Path) -> None:
    records = run_small_files(str(tmp_path), files=30)
    assert [record["step"] for record in records] == ["publish", "verify", "pull", "pull again", "remove"]
    assert left_in(tmp_path) == []


@pytest.mark.long
def test_small_files_are_pulled_with_and_without_packs(tmp_path: Path) -> None:
    records = run_small_files(str(tmp_path), files=30, file_bytes=2000, pack_below=4096)
    by_step = {record["step"]: record for record in records}
    assert list(by_step) == ["publish", "verify", "pull without packs", "pull", "pull again", "remove"]
    assert by_step["publish"]["packs"] == 1
    assert by_step["pull"]["files"] == 30
    (row,) = target_rows(records)
    assert row[:2] == ["pull of 30 files of 2 KB", "requests 20 x fewer than files"]
    assert "30 files of 2 KB: pull without packs" in "\n".join(load_tables(records))
    assert "### Many small files" in load_markdown(records)
    assert by_step["pull without packs"]["requests"] > 30 > 10 > by_step["pull"]["requests"]
    assert left_in(tmp_path) == []


def test_startup_is_compared_with_python_s_own() -> None:
    records = {record["step"]: record for record in run_startup(2)}
    assert set(records) == {"python", "help", "version", "import"}
    assert records["python"]["ratio"] == 1
    assert records["help"]["seconds"] > records["python"]["seconds"]
    with pytest.raises(UsageError):
        run_startup(0)


@pytest.mark.long
def test_the_commands_print_tables_json_and_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "records.jsonl"
    storage = str(tmp_path / "models")
    Path(storage).mkdir()
    words = ["bench", "catalog", storage, "--files=2", "--file-size=16MiB", "--small=3", "-q", f"--record={record}"]
    assert main(words) == 0
    assert "publish: documents and markers" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert {each["bench"] for each in json.loads(capsys.readouterr().out)["records"]} == {"catalog", "small-files"}
    assert main(["bench", "startup", "--repeat=1", f"--record={record}"]) == 0
    assert "--help" in capsys.readouterr().out
    assert len(record.read_text().splitlines()) > 25
