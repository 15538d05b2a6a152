"""Building: what is in the image, that it is the same each time, bases of every kind, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from image_makers import (
    MANIFEST,
    MIB,
    config_of,
    image_at,
    manifest_of,
    model_folder,
    put_base,
    put_index,
    tar_of,
    unpacked,
)

from hoist.config import Config
from hoist.errors import Conflict, DamagedBlock, LocalError, StorageUnsupported, UsageError, VersionNotFound
from hoist.image.editing import Edits
from hoist.image.verbs import build
from hoist.model.manifest import digest_of
from hoist.model.reference import parse_reference
from hoist.read.version import open_version
from makers import directory_storage, files_below, noise, publish, write_files

V5 = {"unet.bin": noise(5 * MIB), "vae.bin": noise(4 * MIB, 1), "config.json": b"{}", "text/vocab.txt": b"a b c"}
LAYER = tar_of({"bin/sh": b"a shell"})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(environ={"HOME": str(tmp_path / "home")})


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "models", {"sd15/any:v5": V5})


@pytest.fixture
def base(tmp_path: Path) -> str:
    text = f"oci-layout://{tmp_path}/base:base:1"
    with image_at(text) as image:
        put_base(image, [LAYER])
    return text


def out(tmp_path: Path, tag: str = "v5", folder: str = "out") -> str:
    return f"oci-layout://{tmp_path}/{folder}:app:{tag}"


def test_the_tree_is_a_storage_and_the_base_is_below_it(
    tmp_path: Path, config: Config, models: Path, base: str
) -> None:
    done = build([f"{models}//sd15/any:v5"], out(tmp_path), base=base, config=config)
    with image_at(out(tmp_path)) as image:
        manifest = manifest_of(image)
        tree = unpacked(image, manifest, tmp_path / "tree")
        assert image.place.manifest("app", "v5").digest == done.digest
    assert (tree / "bin/sh").read_bytes() == b"a shell"
    assert {path: data for path, data in files_below(tree / "models").items() if ".hoist" not in path} == {
        f"sd15/any/v5/{path}": data for path, data in V5.items()
    }
    with open_version(directory_storage(tree / "models"), parse_reference("sd15/any:v5")) as opened:
        assert opened.read("text/vocab.txt") == b"a b c"
        assert opened.manifest.digest == digest_of(opened.manifest.data)
    kinds = [layer.get("annotations", {}).get("dev.hoist.layer") for layer in manifest["layers"]]
    assert kinds == [None, "file", "file", "files", "documents"]
    assert manifest["layers"][0]["digest"] == digest_of(LAYER)
    assert done.layers == 5


def test_what_the_base_says_is_kept_and_what_is_asked_is_set(
    tmp_path: Path, config: Config, models: Path, base: str
) -> None:
    edits = Edits(cmd=["serve"], env={"B": "1"}, labels={"c": "d"}, workdir="/models", user="7")
    build([f"{models}//sd15/any:v5"], out(tmp_path), base=base, edits=edits, config=config)
    with image_at(out(tmp_path)) as image:
        manifest = manifest_of(image)
        found = config_of(image, manifest)
    inner = found["config"]
    assert (inner["Cmd"], inner["WorkingDir"], inner["User"]) == (["serve"], "/models", "7")
    assert inner["Env"] == ["PATH=/bin", "B=1"]
    assert {key: inner["Labels"][key] for key in ("a", "c")} == {"a": "b", "c": "d"}
    assert json.loads(inner["Labels"]["dev.hoist.versions"]) == json.loads(
        manifest["annotations"]["dev.hoist.versions"]
    )
    assert found["created"] == "2024-05-06T07:08:09Z"
    assert len(found["rootfs"]["diff_ids"]) == len(manifest["layers"])
    assert len([each for each in found["history"] if not each.get("empty_layer")]) == len(manifest["layers"])


def test_two_builds_on_two_clones_are_the_same_to_the_bit(tmp_path: Path, base: str) -> None:
    digests = []
    for clone in ("one", "two"):
        folder = model_folder(tmp_path / clone / "models", {"sd15/any:v5": V5})
        config = Config(environ={"HOME": str(tmp_path / clone)})
        text = f"oci-layout://{tmp_path}/{clone}/out:app:v5"
        digests.append(build([f"{folder}//sd15/any:v5"], text, base=base, modelpack=True, config=config).digest)
    assert digests[0] == digests[1]
    one, two = (files_below(tmp_path / clone / "out/blobs") for clone in ("one", "two"))
    assert one == two


def test_building_again_sends_nothing(tmp_path: Path, config: Config, models: Path, base: str) -> None:
    first = build([f"{models}//sd15/any:v5"], out(tmp_path), base=base, config=config)
    again = build([f"{models}//sd15/any:v5"], out(tmp_path), base=base, config=config)
    assert again.digest == first.digest
    assert first.sent_bytes >= first.size
    assert again.sent_bytes == 0
    # Who knows nothing of the layers reads them where that is cheap, and sends nothing either.
    other = Config(environ={"HOME": str(tmp_path / "other")})
    third = build([f"{models}//sd15/any:v5"], out(tmp_path), base=base, config=other)
    assert (third.digest, third.sent_bytes) == (first.digest, 0)


def test_a_version_asked_for_by_a_tag_has_the_tag_inside(tmp_path: Path, config: Config) -> None:
    storage = directory_storage(tmp_path / "tagged")
    publish(write_files(tmp_path / "s", {"w.bin": b"w"}), storage, "m/one:v1", tags=["stable"])
    build([f"{tmp_path}/tagged//m/one:stable"], out(tmp_path), config=config)
    with image_at(out(tmp_path)) as image:
        tree = unpacked(image, manifest_of(image), tmp_path / "tree")
    with open_version(directory_storage(tree / "models"), parse_reference("m/one:stable")) as opened:
        assert opened.version.label == "v1"
        assert opened.read("w.bin") == b"w"


@pytest.mark.parametrize(("docker", "squeezed"), [(True, True), (True, False), (False, True)])
def test_bases_of_other_media_types_become_ocis(
    tmp_path: Path, config: Config, models: Path, docker: bool, squeezed: bool
) -> None:
    text = f"oci-layout://{tmp_path}/theirs:base:1"
    with image_at(text) as image:
        described = put_base(image, [LAYER], docker=docker, squeezed=squeezed)
    build([f"{models}//sd15/any:v5"], out(tmp_path), base=text, config=config)
    with image_at(out(tmp_path)) as image:
        manifest = manifest_of(image)
        config_of(image, manifest)
    assert manifest["mediaType"] == MANIFEST
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert manifest["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar" + (
        "+gzip" if squeezed else ""
    )
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == described["digest"]


def indexed(tmp_path: Path) -> str:
    text = f"oci-layout://{tmp_path}/multi:base:1"
    with image_at(text) as image:
        children = []
        for architecture in ("amd64", "arm64"):
            layer = tar_of({"bin/sh": architecture.encode()})
            children.append(put_base(image, [layer], reference=architecture, architecture=architecture))
        attested = put_base(image, [tar_of({"x": b"y"})], reference="att")
        attested["platform"] = {"os": "unknown", "architecture": "unknown"}
        put_index(image, [*children, attested])
    return text


def test_an_index_is_built_for_every_platform_with_the_models_once(
    tmp_path: Path, config: Config, models: Path
) -> None:
    done = build([f"{models}//sd15/any:v5"], out(tmp_path), base=indexed(tmp_path), config=config)
    assert done.platforms == ("linux/amd64", "linux/arm64")
    with image_at(out(tmp_path)) as image:
        children = manifest_of(image)["manifests"]
        assert [child["platform"]["architecture"] for child in children] == ["amd64", "arm64"]
        manifests = [manifest_of(image, child["digest"]) for child in children]
        for child, manifest in zip(children, manifests, strict=True):
            assert config_of(image, manifest)["architecture"] == child["platform"]["architecture"]
    assert manifests[0]["layers"][1:] == manifests[1]["layers"][1:]
    assert manifests[0]["layers"][0] != manifests[1]["layers"][0]
    assert done.sent_bytes < 1.01 * sum(map(len, V5.values())) + 64 * 1024


def test_one_platform_of_an_index(tmp_path: Path, config: Config, models: Path) -> None:
    base = indexed(tmp_path)
    done = build([f"{models}//sd15/any:v5"], out(tmp_path), base=base, platforms=["linux/arm64"], config=config)
    assert done.platforms == ("linux/arm64",)
    with pytest.raises(UsageError, match=r"no platform linux/s390x; it has linux/amd64, linux/arm64"):
        build([f"{models}//sd15/any:v5"], out(tmp_path), base=base, platforms=["linux/s390x"], config=config)


def test_scratch_for_a_platform(tmp_path: Path, config: Config, models: Path) -> None:
    done = build([f"{models}//sd15/any:v5"], out(tmp_path), platforms=["linux/arm64/v8"], config=config)
    assert done.platforms == ("linux/arm64/v8",)
    with image_at(out(tmp_path)) as image:
        found = config_of(image, manifest_of(image))
    assert (found["architecture"], found["variant"]) == ("arm64", "v8")


def test_several_models_and_a_second_one_on_top(tmp_path: Path, config: Config, models: Path) -> None:
    other = model_folder(tmp_path / "others", {"vae/kl:v1": {"w.bin": noise(4 * MIB, 7)}})
    both = build([f"{models}//sd15/any:v5", f"{other}//vae/kl:v1"], out(tmp_path, "both"), config=config)
    assert both.versions == ("sd15/any:v5", "vae/kl:v1")
    build([f"{models}//sd15/any:v5"], out(tmp_path, "one"), config=config)
    added = build([f"{other}//vae/kl:v1"], out(tmp_path, "two"), base=out(tmp_path, "one"), config=config)
    with image_at(out(tmp_path, "two")) as image:
        held = json.loads(manifest_of(image)["annotations"]["dev.hoist.versions"])
    assert [each["name"] for each in held] == ["sd15/any", "vae/kl"]
    # Its big layer is there from the first build.
    assert added.sent_bytes < 64 * 1024


def test_a_version_that_the_base_holds_already(tmp_path: Path, config: Config, models: Path) -> None:
    build([f"{models}//sd15/any:v5"], out(tmp_path), config=config)
    again = build([f"{models}//sd15/any:v5"], out(tmp_path, "again"), base=out(tmp_path), config=config)
    assert again.layers == 4
    other = model_folder(tmp_path / "other", {"sd15/any:v5": {"w.bin": b"another"}})
    with pytest.raises(Conflict, match="hoist image update"):
        build([f"{other}//sd15/any:v5"], out(tmp_path, "again"), base=out(tmp_path), config=config)


def test_zstd_layers_hold_the_same_and_a_modelpack_names_them(
    tmp_path: Path, config: Config, models: Path, base: str
) -> None:
    zeros = model_folder(tmp_path / "zeros", {"m/zeros:v1": {"w.ckpt": bytes(8 * MIB), "a.json": b"{}"}})
    done = build([f"{zeros}//m/zeros:v1"], out(tmp_path), base=base, compress="zstd", modelpack=True, config=config)
    assert done.sent_bytes < MIB
    with image_at(out(tmp_path)) as image:
        manifest = manifest_of(image)
        tree = unpacked(image, manifest, tmp_path / "tree")
        pack = manifest_of(image, "v5-modelpack")
        ids = config_of(image, manifest)["rootfs"]["diff_ids"]
        described = json.loads(image.place.read_blob("app", pack["config"]["digest"], 10_000))
    assert [layer["mediaType"].rpartition("+")[2] for layer in manifest["layers"][1:3]] == ["zstd", "zstd"]
    assert (tree / "models/m/zeros/v1/w.ckpt").read_bytes() == bytes(8 * MIB)
    assert pack["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert pack["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert [layer["mediaType"] for layer in pack["layers"]] == [
        "application/vnd.cncf.model.weight.v1.tar+zstd",
        "application/vnd.cncf.model.weight.config.v1.tar+zstd",
    ]
    assert [layer["digest"] for layer in pack["layers"]] == [layer["digest"] for layer in manifest["layers"][1:3]]
    assert pack["layers"][0]["annotations"]["org.cncf.model.filepath"] == "models/m/zeros/v1/w.ckpt"
    assert described["modelfs"] == {"type": "layers", "diffIds": ids[1:3]}
    assert described["config"] == {"format": "pytorch"}
    again = build([f"{zeros}//m/zeros:v1"], out(tmp_path), base=base, compress="zstd", config=config)
    assert (again.digest, again.sent_bytes) == (done.digest, 0)


def test_without_the_library_zstd_says_what_to_install(
    tmp_path: Path, config: Config, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(LocalError, match=r"hoist\[zstd\]"):
        build([f"{models}//sd15/any:v5"], out(tmp_path), compress="zstd", config=config)
    with pytest.raises(UsageError, match="gzip"):
        build([f"{models}//sd15/any:v5"], out(tmp_path), compress="gzip", config=config)


def test_a_damaged_file_makes_no_image(tmp_path: Path, config: Config, models: Path) -> None:
    path = models / "sd15/any/v5/unet.bin"
    path.chmod(0o644)
    path.write_bytes(V5["unet.bin"][:-1] + b"?")
    with pytest.raises(DamagedBlock):
        build([f"{models}//sd15/any:v5"], out(tmp_path), config=config)
    with image_at(out(tmp_path)) as image:
        assert list(image.place.tags("app")) == []


def test_what_is_no_base(tmp_path: Path, config: Config, models: Path) -> None:
    model = [f"{models}//sd15/any:v5"]
    with pytest.raises(VersionNotFound, match="there is no image"):
        build(model, out(tmp_path), base=f"oci-layout://{tmp_path}/base:base:none", config=config)
    text = f"oci-layout://{tmp_path}/odd:base:1"
    with image_at(text) as image:
        put_base(image, [LAYER])
        document: dict[str, Any] = manifest_of(image)
        document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        image.place.put_manifest("base", "1", json.dumps(document).encode(), MANIFEST)
        document["mediaType"] = "application/vnd.docker.distribution.manifest.v1+json"
        image.place.put_manifest("base", "old", json.dumps(document).encode(), document["mediaType"])
    with pytest.raises(StorageUnsupported, match="cannot be built upon"):
        build(model, out(tmp_path), base=text, config=config)
    with pytest.raises(StorageUnsupported, match="skopeo copy --format oci"):
        build(model, out(tmp_path), base=text.replace(":1", ":old"), config=config)
    for target in (f"oci-layout://{tmp_path}/out", "scratch", f"oci-archive://{tmp_path}/x.tar:v1"):
        with pytest.raises(UsageError):
            build(model, target, config=config)
    with pytest.raises(UsageError, match="--model"):
        build([], out(tmp_path), config=config)


def test_too_many_layers_below(tmp_path: Path, config: Config, models: Path) -> None:
    text = f"oci-layout://{tmp_path}/deep:base:1"
    with image_at(text) as image:
        put_base(image, [tar_of({f"f{number}": b"x"}) for number in range(123)])
    with pytest.raises(StorageUnsupported, match="no room"):
        build([f"{models}//sd15/any:v5"], out(tmp_path), base=text, config=config)
