"""Targets: what a registry, a layout or an archive may hold in the place of an image's documents and layers."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath

from fuzz_target import Target, attempt

from hoist.errors import Damaged, HoistError
from hoist.model.image.contents import Contents, PlacedFile, PlacedLayer
from hoist.model.image.descriptor import Descriptor
from hoist.model.image.documents import (
    CONFIG_TYPE,
    LAYER_TYPE,
    ImageIndex,
    ImageManifest,
    new_config,
    parse_config,
    parse_image,
)
from hoist.model.image.labels import VERSIONS, ImageVersion, parse_versions, versions_text
from hoist.model.image.layers import Layer, Member
from hoist.model.image.untar import members_of
from hoist.model.manifest import digest_of
from hoist.storage.image.inflate import inflate
from hoist.storage.oci.index import make_entry, named_blobs, named_manifests, parse_index, settled, write_index

_DIGESTS = [digest_of(b"%d" % n) for n in range(4)]
_MOST = 1 << 20


def check_image(data: bytes) -> bool:
    """A manifest or index that is read is written so that it reads the same; its versions, too."""
    found = attempt(lambda: parse_image(data), Damaged)
    if found is None:
        return False
    again = attempt(found.to_bytes, Damaged)
    assert again is None or parse_image(again) == found
    notes = dict(found.annotations)
    versions = attempt(lambda: parse_versions(notes[VERSIONS]), Damaged) if VERSIONS in notes else None
    if versions is not None:
        assert parse_versions(versions_text(versions)) == versions
        for each in versions:
            # They become paths and names of repositories.
            assert ".." not in PurePosixPath(f"models/{each.name}/{each.label}").parts
    return True


def check_image_config(data: bytes) -> bool:
    """A config that is read can be gone on with, and keeps what it says."""
    found = attempt(lambda: parse_config(data), Damaged)
    if found is None:
        return False
    longer = attempt(lambda: found.extended(_DIGESTS[:1], {"a": "b"}, [{"created_by": "x"}]), Damaged)
    if longer is not None:
        assert longer.diff_ids == (*found.diff_ids, _DIGESTS[0])
        assert dict(longer.labels) == {**found.labels, "a": "b"}
        written = attempt(longer.to_bytes, Damaged)
        assert written is None or parse_config(written).diff_ids == longer.diff_ids
    return True


def check_layout_index(data: bytes) -> bool:
    """index.json of a layout: entries keep what others wrote, and each is found by what it is called."""
    found = attempt(lambda: parse_index(data, "index.json"), HoistError)
    if found is None:
        return False
    again = parse_index(write_index([entry.document for entry in found]), "index.json")
    assert [entry.document for entry in again] == [entry.document for entry in found]
    document = json.loads(data)
    for entry in found:
        assert not entry.tag or entry.is_named(entry.repository, entry.tag)
        assert len(entry.digest) == len(_DIGESTS[0])
        settled(entry, document)
    attempt(lambda: list(named_blobs(document, "it")), HoistError)
    attempt(lambda: list(named_manifests(document, "it")), HoistError)
    return True


def check_contents(data: bytes) -> bool:
    """image.json: offsets are in bounds that add up, names stay inside; what is read is written the same."""
    found = attempt(lambda: Contents.parse(data), HoistError)
    if found is None:
        return False
    assert Contents.parse(found.to_bytes()) == found
    for layer in found.layers:
        assert layer.least_bytes >= max((file.offset + file.size for file in layer.files), default=0)
        for file in layer.files:
            for path in (file.path, file.member):
                assert not path.startswith("/")
                assert ".." not in path.split("/")
    return True


def check_tar(data: bytes) -> bool:
    """A tar that is read lies in its bounds, leads nowhere outside, and means what Python's tarfile takes it for."""
    # With right sums too, as hardly a change would pass them.
    return [_check_tar(data), _check_tar(_summed(data))][0]


def _summed(data: bytes) -> bytes:
    """The archive with right sums in its headers."""
    raw, at = bytearray(data), 0
    while at + 512 <= len(raw) and any(raw[at : at + 512]):
        raw[at + 148 : at + 156] = b" " * 8
        raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
        digits = bytes(raw[at + 124 : at + 136]).strip(b" \0")
        size = int(digits, 8) if digits and all(byte in b"01234567" for byte in digits) else 0
        at += 512 + size + -size % 512
    return bytes(raw)


def _check_tar(data: bytes) -> bool:
    found = attempt(lambda: members_of(data), Damaged)
    if found is None:
        return False
    end = 0
    for member in found:
        assert not member.path.startswith("/")
        assert ".." not in member.path.split("/")
        if member.kind == "file":
            assert end <= member.offset <= member.offset + member.size <= len(data)
            end = member.offset + member.size
    files = {each.path: data[each.offset : each.offset + each.size] for each in found if each.kind == "file"}
    theirs = _by_tarfile(data)
    if theirs is not None:
        assert files == theirs
    return True


def _by_tarfile(data: bytes) -> dict[str, bytes] | None:
    """The files as Python reads them; None where it reads less."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="strict") as archive:
            for info in archive.getmembers():
                name = "/".join(part for part in info.name.split("/") if part not in ("", "."))
                if info.isreg() and not name.rpartition("/")[2].startswith(".wh."):
                    file = archive.extractfile(info)
                    assert file is not None
                    found[name] = file.read()
    except (tarfile.TarError, ValueError, EOFError, OverflowError):
        return None
    return found


def check_gzip(data: bytes) -> bool:
    """A compressed layer: what is inflated is bounded, whole, and what Python's gzip gives."""

    def slices() -> Iterator[memoryview]:
        for at in range(0, len(data), 100):
            yield memoryview(data)[at : at + 100]

    found = attempt(lambda: b"".join(inflate(slices(), "gzip", _MOST)), Damaged)
    if found is None:
        return False
    assert len(found) <= _MOST
    assert found == (gzip.decompress(data) if data else b"")
    return True


def _images() -> list[bytes]:
    layers = tuple(
        Descriptor(digest, 10 + n, LAYER_TYPE + end, (("dev.hoist.layer", "file"),))
        for n, (digest, end) in enumerate(zip(_DIGESTS, ("", "+gzip", "+zstd", ""), strict=True))
    )
    versions = [ImageVersion("sd15/any", "v5", _DIGESTS[0], _DIGESTS[1]), ImageVersion("m", "v1", *_DIGESTS[2:])]
    notes = ((VERSIONS, versions_text(versions)),)
    one = ImageManifest(Descriptor(_DIGESTS[0], 5, CONFIG_TYPE), layers, notes)
    subject = ImageManifest(one.config, layers[:1], artifact_type="application/x-sig", subject=layers[0])
    index = ImageIndex((Descriptor(_DIGESTS[3], 99, one.media_type, platform="linux/arm64/v8"),), notes)
    return [each.to_bytes() for each in (one, subject, index)]


def _image_configs() -> list[bytes]:
    config = new_config().extended(_DIGESTS, {VERSIONS: "[]"}, [{"created_by": "x"}, {"empty_layer": True}])
    return [config.to_bytes(), new_config("arm64").to_bytes(), b'{"rootfs":null,"config":null,"history":null}']


def _layout_indices() -> list[bytes]:
    names = [("sd15/any", "v5"), ("", "v5"), ("host:5000/x", "v1"), ("m", "")]
    entries = [make_entry(_DIGESTS[n], n, LAYER_TYPE, *each) for n, each in enumerate(names)]
    return [write_index([entry.document for entry in entries]), write_index([])]


def _contents() -> list[bytes]:
    files = tuple(PlacedFile(f"f{n}", f"models/m/v1/f{n}", 5 * n, 512 * n) for n in range(3))
    return [Contents(layers).to_bytes() for layers in ((), (PlacedLayer(_DIGESTS[0], files),))]


@cache
def _tars() -> list[bytes]:
    files = {"models/m/v1/a.bin": b"a" * 600, "models/m/v1/é" * 9: b"b", "models/" + "n" * 150: b""}
    members = [Member("file", path, len(data)) for path, data in files.items()]
    members.append(Member("link", "models/m/v1/c", link="a.bin"))
    found = [Layer("documents", tuple(members)).to_bytes(files)]
    for form in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=form, bufsize=512) as archive:
            for name, kind in (
                ("d", tarfile.DIRTYPE),
                ("d/.wh.x", tarfile.REGTYPE),
                ("d/" + "f" * 90, tarfile.REGTYPE),
            ):
                info = tarfile.TarInfo(name)
                info.type = kind
                archive.addfile(info)
            link = tarfile.TarInfo("d/h")
            link.type, link.linkname = tarfile.LNKTYPE, "d/" + "f" * 90
            archive.addfile(link)
        found.append(made.getvalue()[:4096])
    return found


def _gzips() -> list[bytes]:
    one = gzip.compress(b"weights" * 100, 6, mtime=0)
    return [one, one + gzip.compress(b"", 1, mtime=0), one + one, gzip.compress(bytes(1 << 20), 9, mtime=0)]


_JSON = (b"{", b"}", b"[", b"]", b",", b'"', b"\\ud800", b"../", b"null", b"1e9", b"-1", b"true")
_WORDS = (
    *_JSON,
    b'"digest":"sha256:',
    b'"size":',
    b'"mediaType":',
    b'"annotations":{',
    b'"manifests":[',
    b'"layers":[',
)
_TAR = (
    b"ustar\x0000",
    b"ustar  \0",
    b"././@LongLink",
    b"\x80" + bytes(10) + b"\xff",
    b"30 path=../x\n",
    b"19 size=9\n",
)

TARGETS = (
    Target("image", check_image, _images, (*_WORDS, b'"platform":{', b'"subject":{', b'\\"label\\":')),
    Target(
        "image-config", check_image_config, _image_configs, (*_WORDS, b'"rootfs":{', b'"diff_ids":[', b'"history":')
    ),
    Target("layout-index", check_layout_index, _layout_indices, (*_WORDS, b"ref.name", b"localhost/", b":", b"@")),
    Target("contents", check_contents, _contents, (*_WORDS, b'"offset":', b'"member":', b'"diff_id":', b'"files":[')),
    Target(
        "tar", check_tar, _tars, (*_TAR, b".wh.", b".wh..wh..opq", b"../", b"/", bytes(512), b"GNU.sparse.", b"x", b"g")
    ),
    Target("gzip", check_gzip, _gzips, (b"\x1f\x8b\x08\x00", bytes(8), b"\x03\x00", b"\xff" * 4)),
)
