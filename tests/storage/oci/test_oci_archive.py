"""An archive of a layout: what reads it back, what others wrote, and what a hostile one gives."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract import MANIFEST, REPOSITORY, chunks_of, put_image, streamed

from hoist.errors import Damaged, FileNotFound, StorageNotFound, StorageUnsupported
from hoist.model.manifest import digest_of
from hoist.storage.oci.archive import LayoutArchive
from hoist.storage.oci.layout import LayoutFolder
from makers import noise
from oci_tools import program

BIG = noise((2 << 20) + 5)


@contextmanager
def opened(path: Path) -> Iterator[LayoutArchive]:
    archive = LayoutArchive(path, f"oci-archive://{path}")
    try:
        yield archive
    finally:
        archive.close()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    root = tmp_path / "layout"
    put_image(LayoutFolder(root, "layout"), "v1", [BIG])
    return root


@pytest.fixture(params=["pax", "gnu", "ustar", "tar"])
def packed(request: pytest.FixtureRequest, layout: Path, tmp_path: Path) -> Path:
    path = tmp_path / "image.tar"
    if request.param == "tar":
        subprocess.run(["tar", "-C", str(layout), "-cf", str(path), "."], check=True)
        return path
    formats = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}
    with tarfile.open(path, "w", format=formats[request.param]) as archive:
        for item in sorted(layout.rglob("*")):
            archive.add(item, str(item.relative_to(layout)), recursive=False)
    return path


def test_it_reads_what_the_layout_holds(packed: Path, layout: Path) -> None:
    expected = LayoutFolder(layout, "layout").manifest(REPOSITORY, "v1")
    with opened(packed) as archive:
        assert list(archive.repositories("")) == [REPOSITORY]
        assert list(archive.tags(REPOSITORY)) == ["v1"]
        assert archive.manifest(REPOSITORY, "v1") == expected
        assert archive.manifest(REPOSITORY, expected.digest) == expected
        digest = digest_of(BIG)
        assert archive.blob_size(REPOSITORY, digest) == len(BIG)
        assert archive.read_blob(REPOSITORY, digest, len(BIG)) == BIG
        assert streamed(archive, digest, len(BIG)) == BIG
        buffer = bytearray(100_000)
        archive.read_into(REPOSITORY, digest, 1_000_001, memoryview(buffer))
        assert buffer == BIG[1_000_001:1_100_001]
        with pytest.raises(Damaged):
            archive.read_into(REPOSITORY, digest, len(BIG) - 1, memoryview(bytearray(2)))
        with pytest.raises(FileNotFound):
            archive.read_blob(REPOSITORY, digest_of(b"x"), 10)
        assert list(archive.referrers(REPOSITORY, expected.digest)) == []


def test_it_is_read_only(packed: Path) -> None:
    with opened(packed) as archive:
        writes = (
            lambda: archive.put_blob(REPOSITORY, None, 1, chunks_of(b"x"), lambda count: None),
            lambda: archive.put_manifest(REPOSITORY, "v2", b"{}", MANIFEST),
            lambda: archive.untag(REPOSITORY, "v1"),
            lambda: archive.delete_manifest(REPOSITORY, digest_of(b"")),
            lambda: archive.mount_blob(REPOSITORY, digest_of(b""), 0, "other"),
        )
        for write in writes:
            with pytest.raises(StorageUnsupported, match="oci-layout"):
                write()


def test_no_file_and_no_layout(tmp_path: Path) -> None:
    with pytest.raises(StorageNotFound):
        LayoutArchive(tmp_path / "none.tar", "x")
    with pytest.raises(Damaged, match=r"no index\.json"):
        LayoutArchive(tar_of(tmp_path, {"hello": b"x"}), "x")


def test_a_compressed_one_is_refused_with_the_mend(packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(packed.read_bytes(), 1))
    with pytest.raises(StorageUnsupported, match="decompress"):
        LayoutArchive(path, "x")


def tar_of(folder: Path, files: Mapping[str, bytes]) -> Path:
    path = folder / "made.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def with_member(path: Path, name: str, kind: bytes) -> Path:
    """An archive with an index and a member of that kind, which leads to it if it is a link."""
    with tarfile.open(path, "w") as archive:
        index = tarfile.TarInfo("index.json")
        index.size = 16
        archive.addfile(index, io.BytesIO(b'{"manifests":[]}'))
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, "index.json"
        archive.addfile(link)
    return path


def test_links_are_no_blobs_and_devices_are_refused(tmp_path: Path) -> None:
    digest = digest_of(b"secret")
    name = "blobs/sha256/" + digest.removeprefix("sha256:")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with opened(with_member(tmp_path / "links.tar", name, kind)) as archive:
            assert archive.blob_size("", digest) is None
            assert archive.blob_size("", "sha256:../../index.json") is None
    for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE):
        with pytest.raises(Damaged):
            LayoutArchive(with_member(tmp_path / "devices.tar", name, kind), "x")


def test_a_blob_that_is_another_is_damaged(tmp_path: Path) -> None:
    digest = digest_of(b"promised")
    files = {"index.json": b'{"manifests":[]}', "blobs/sha256/" + digest.removeprefix("sha256:"): b"othe" * 2}
    with opened(tar_of(tmp_path, files)) as archive:
        with pytest.raises(Damaged):
            archive.read_blob("", digest, 100)
        with archive.stream_blob("", digest, 8) as slices, pytest.raises(Damaged):
            list(slices)


def test_a_header_that_lies_about_its_size(packed: Path, tmp_path: Path) -> None:
    """A name of eight gigabytes, and members that go on behind the end."""
    for kind, size in ((tarfile.XHDTYPE, 8 << 30), (tarfile.GNUTYPE_LONGNAME, 8 << 30), (tarfile.REGTYPE, 1 << 40)):
        info = tarfile.TarInfo("index.json")
        info.type, info.size = kind, size
        path = tmp_path / "lies.tar"
        with path.open("wb") as file:
            file.write(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
        with pytest.raises(Damaged):
            LayoutArchive(path, "x")


def test_a_truncated_one_is_damaged_or_lacks_blobs(packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    for size in (0, 100, 511, 600, len(data) // 2, len(data) - 11_000):
        path = tmp_path / "cut.tar"
        path.write_bytes(data[:size])
        try:
            archive = LayoutArchive(path, "x")
        except Damaged:
            continue
        with pytest.raises((Damaged, FileNotFound)):
            archive.read_blob(REPOSITORY, digest_of(BIG), len(BIG))
            archive.manifest(REPOSITORY, "v1")
        archive.close()


def test_what_skopeo_writes(layout: Path, tmp_path: Path) -> None:
    skopeo = program("skopeo")
    path = tmp_path / "theirs.tar"
    source = LayoutFolder(layout, "layout")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("hello"))
    manifest = put_image(source, "v2", [made.getvalue()])
    copied = ["copy", "--preserve-digests", f"oci:{layout}:{REPOSITORY}:v2", f"oci-archive:{path}:v2"]
    subprocess.run([skopeo, "--insecure-policy", *copied], check=True, capture_output=True)
    with opened(path) as theirs:
        assert list(theirs.tags("")) == ["v2"]
        assert theirs.manifest("", "v2").data == manifest
        for layer in json.loads(manifest)["layers"]:
            assert theirs.read_blob("", layer["digest"], 1 << 20) == made.getvalue()
