"""Copies keep every digest and bring signatures along; plans say what will happen, and it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from image_makers import MANIFEST, MIB, image_at, manifest_of, model_folder, put, put_base, put_index, tar_of

from hoist.config import Config
from hoist.errors import StorageUnsupported, UsageError, VersionNotFound
from hoist.image.verbs import build, copy, plan, update
from hoist.model.manifest import digest_of
from makers import files_below, noise

V5 = {"unet.bin": noise(6 * MIB), "vae.bin": noise(4 * MIB, 1), "a.json": b"{}"}
V6 = V5 | {"vae.bin": noise(4 * MIB, 2)}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(environ={"HOME": str(tmp_path / "home")})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models") / "models", {"sd15/any:v5": V5, "sd15/any:v6": V6})


@pytest.fixture
def base(tmp_path: Path) -> str:
    text = f"oci-layout://{tmp_path}/base:base:1"
    with image_at(text) as image:
        children = [
            put_base(image, [tar_of({"bin/sh": bytes(10_000)})], reference=name, architecture=name, squeezed=True)
            for name in ("amd64", "arm64")
        ]
        put_index(image, children)
    return text


@pytest.fixture
def built(tmp_path: Path, config: Config, models: Path, base: str) -> str:
    text = f"oci-layout://{tmp_path}/out:app:v5"
    build([f"{models}//sd15/any:v5"], text, base=base, modelpack=True, config=config)
    return text


def sign(text: str, reference: str, *, by_tag: bool) -> str:
    """A signature of a manifest in the image's repository; what it is named by."""
    with image_at(text) as image:
        signed = image.place.manifest(image.repository, reference)
        blob, size = put(image, f"signature of {signed.digest}".encode())
        empty, empty_size = put(image, b"{}")
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/x-sig",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": empty_size},
            "layers": [{"mediaType": "application/x-sig", "digest": blob, "size": size}],
        }
        if not by_tag:
            subject = {"mediaType": signed.media_type, "digest": signed.digest, "size": len(signed.data)}
            document["subject"] = subject
        data = json.dumps(document).encode()
        name = signed.digest.replace(":", "-") + ".sig" if by_tag else digest_of(data)
        image.place.put_manifest(image.repository, name, data, MANIFEST)
    return name


def test_a_copy_has_every_digest_and_the_signatures(tmp_path: Path, config: Config, built: str) -> None:
    with image_at(built) as image:
        child = manifest_of(image)["manifests"][0]["digest"]
    names = [sign(built, "v5", by_tag=True), sign(built, child, by_tag=False)]
    names.append(sign(built, names[1], by_tag=False))
    target = f"oci-layout://{tmp_path}/far:their/app:v5"
    done = copy(built, target, config=config)
    assert set(done.referring) == {*names, "v5-modelpack"}
    assert files_below(tmp_path / "far/blobs") == files_below(tmp_path / "out/blobs")
    with image_at(target) as image:
        for reference in ("v5", "v5-modelpack", *names):
            with image_at(built) as source:
                assert image.place.manifest("their/app", reference) == source.place.manifest("app", reference)
        assert [each.digest for each in image.place.referrers("their/app", child)] == [names[1]]
    again = copy(built, target, config=config)
    assert (again.digest, again.sent_bytes) == (done.digest, 0)


def test_a_copy_in_one_place_moves_nothing(tmp_path: Path, config: Config, built: str) -> None:
    done = copy(built, f"oci-layout://{tmp_path}/out:second:v5", config=config)
    assert done.sent_bytes == 0
    with image_at(built) as image:
        assert image.place.manifest("second", "v5").digest == done.digest


def test_out_of_an_archive(tmp_path: Path, config: Config, built: str) -> None:
    import subprocess

    subprocess.run(["tar", "-C", str(tmp_path / "out"), "-cf", str(tmp_path / "x.tar"), "."], check=True)
    done = copy(f"oci-archive://{tmp_path}/x.tar:app:v5", f"oci-layout://{tmp_path}/far:v5", config=config)
    with image_at(built) as image:
        assert done.digest == image.place.manifest("app", "v5").digest


def test_what_cannot_be_copied(tmp_path: Path, config: Config, built: str) -> None:
    with pytest.raises(VersionNotFound, match="its repository has v5, v5-modelpack"):
        copy(built.replace(":v5", ":v9"), f"oci-layout://{tmp_path}/far:v5", config=config)
    with pytest.raises(UsageError):
        copy("scratch", f"oci-layout://{tmp_path}/far:v5", config=config)
    with image_at(built) as image:
        image.place.put_manifest("app", "odd", b'{"mediaType": "application/x-odd"}', "application/x-odd")
    with pytest.raises(StorageUnsupported, match="application/x-odd"):
        copy(built.replace(":v5", ":odd"), f"oci-layout://{tmp_path}/far:v5", config=config)


def test_a_location_alone(config: Config, models: Path) -> None:
    found = plan([f"{models}//sd15/any:v5"], config=config)
    assert [each.what for each in found.layers[:3]] == ["unet.bin", "vae.bin", "a.json"]
    assert found.measures.layers == 4
    assert sum(map(len, V5.values())) < found.measures.image < sum(map(len, V5.values())) + 64 * 1024
    assert found.measures.exact
    assert all(verdict.fits for verdict in found.verdicts)


def test_what_a_build_sends_is_what_was_planned(tmp_path: Path, config: Config, models: Path, base: str) -> None:
    target = f"oci-layout://{tmp_path}/out:app:v5"
    planned = plan([f"{models}//sd15/any:v5"], base=base, tag=target, config=config)
    assert planned.platforms == ("linux/amd64", "linux/arm64")
    assert not (tmp_path / "out").exists()
    done = build([f"{models}//sd15/any:v5"], target, base=base, config=config)
    assert planned.send_bytes <= done.sent_bytes <= planned.send_bytes + 16 * 1024
    assert (planned.measures.layers, planned.measures.image) == (done.layers, done.size)
    # The base is compressed, and its end says how large it was.
    assert [each.unpacked for each in planned.layers if each.what == "base"] == [20480]
    after = plan([f"{models}//sd15/any:v5"], base=base, tag=target, config=config)
    assert [each.state for each in after.layers] == ["there"] * 4 + ["make"]


def test_what_an_update_sends_is_what_was_planned(config: Config, models: Path, built: str) -> None:
    planned = plan([f"{models}//sd15/any:v6"], update=built, config=config)
    moving = [each.what for each in planned.layers if each.moves]
    assert moving == ["vae.bin", "documents of sd15/any:v6"]
    done = update(built, [f"{models}//sd15/any:v6"], config=config)
    assert planned.send_bytes <= done.sent_bytes <= planned.send_bytes + 16 * 1024
    assert (planned.measures.layers, planned.measures.image) == (done.layers, done.size)
