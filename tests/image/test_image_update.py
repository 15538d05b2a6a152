"""Updating: only what changed is sent, everything else stays, and signatures that are stale are said."""

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
    put,
    put_base,
    put_index,
    tar_of,
    unpacked,
)

from hoist.config import Config
from hoist.errors import Conflict, UsageError, VersionNotFound
from hoist.image.verbs import build, update
from hoist.model.manifest import digest_of
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.read.version import open_version
from makers import directory_storage, noise

V5 = {"unet.bin": noise(6 * MIB), "vae.bin": noise(4 * MIB, 1), "a.json": b"{}", "t/b.txt": b"a b c"}
V6 = V5 | {"vae.bin": noise(4 * MIB, 2)}
V7 = V6 | {"a.json": b"[]", "new.bin": noise(4 * MIB, 3)}
OTHER = {"w.bin": noise(4 * MIB, 9)}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(environ={"HOME": str(tmp_path / "home")})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Those of v8 are v5's again, under other names.
    moved = {"again.bin": V5["unet.bin"], "a.json": b"{}", "t/b.txt": b"a b c"}
    versions = {"sd15/any:v5": V5, "sd15/any:v6": V6, "sd15/any:v7": V7, "sd15/any:v8": moved, "other/one:v1": OTHER}
    return model_folder(tmp_path_factory.mktemp("models") / "models", versions)


@pytest.fixture
def target(tmp_path: Path, config: Config, models: Path) -> str:
    base = f"oci-layout://{tmp_path}/base:base:1"
    with image_at(base) as image:
        put_base(image, [tar_of({"bin/sh": b"a shell"})])
    text = f"oci-layout://{tmp_path}/out:app:v5"
    build([f"{models}//other/one:v1", f"{models}//sd15/any:v5"], text, base=base, config=config)
    return text


def tree_of(text: str, folder: Path) -> Path:
    with image_at(text) as image:
        return unpacked(image, manifest_of(image), folder)


def assert_holds(tree: Path, label: str, files: dict[str, bytes]) -> None:
    with open_version(directory_storage(tree / "models"), parse_reference(f"sd15/any:{label}")) as opened:
        assert {path: opened.read(path) for path in opened.files} == files
    for path, data in files.items():
        assert (tree / "models/sd15/any" / label / path).read_bytes() == data


def test_one_changed_file_is_sent_and_nothing_else_moves(
    tmp_path: Path, config: Config, models: Path, target: str
) -> None:
    done = update(target, [f"{models}//sd15/any:v6"], tag="v6", config=config)
    assert done.replaced == ("sd15/any:v5",)
    assert len(V6["vae.bin"]) < done.sent_bytes < 1.01 * len(V6["vae.bin"])
    with image_at(target) as image:
        old, new = manifest_of(image, "v5"), manifest_of(image, "v6")
        configs = [config_of(image, each) for each in (old, new)]
        held = json.loads(new["annotations"]["dev.hoist.versions"])
    assert [(each["name"], each["label"]) for each in held] == [("other/one", "v1"), ("sd15/any", "v6")]
    digests = [[layer["digest"] for layer in each["layers"]] for each in (old, new)]
    # The base, the other model with its documents, the unet and the small files.
    assert len(set(digests[0]) & set(digests[1])) == 5
    assert len(digests[1]) == len(digests[0])
    kept = [digest for digest in digests[0] if digest in digests[1]]
    assert digests[1][: len(kept)] == kept
    for one in configs:
        one["config"].pop("Labels"), one.pop("rootfs"), one.pop("history")
    assert configs[0] == configs[1]
    tree = tree_of(target.replace(":v5", ":v6"), tmp_path / "tree")
    assert_holds(tree, "v6", V6)
    assert (tree / "models/other/one/v1/w.bin").read_bytes() == OTHER["w.bin"]
    assert (tree / "bin/sh").read_bytes() == b"a shell"
    with pytest.raises(VersionNotFound):
        open_version(directory_storage(tree / "models"), parse_reference("sd15/any:v5"))


def test_updates_of_updates_and_back(tmp_path: Path, config: Config, models: Path, target: str) -> None:
    for label, files in (("v6", V6), ("v7", V7), ("v5", V5)):
        done = update(target, [f"{models}//sd15/any:{label}"], config=config)
        assert not done.already
        assert_holds(tree_of(target, tmp_path / f"tree-{label}"), label, files)
    # What the registry has from the first build is not sent again.
    assert done.sent_bytes < 64 * 1024


def test_a_file_of_another_name_is_kept_by_its_content(
    tmp_path: Path, config: Config, models: Path, target: str
) -> None:
    done = update(target, [f"{models}//sd15/any:v8"], config=config)
    assert done.sent_bytes < 64 * 1024
    tree = tree_of(target, tmp_path / "tree")
    assert (tree / "models/sd15/any/v8/again.bin").readlink() == Path("../v5/unet.bin")
    assert_holds(tree, "v8", {"again.bin": V5["unet.bin"], "a.json": b"{}", "t/b.txt": b"a b c"})


def test_the_same_label_with_other_content(tmp_path: Path, config: Config, models: Path, target: str) -> None:
    """A kept layer's file must not be hidden by a new one at its path."""
    swapped = {"unet.bin": V5["vae.bin"], "copy.bin": V5["unet.bin"], "a.json": b"{}", "t/b.txt": b"a b c"}
    other = model_folder(tmp_path / "swapped", {"sd15/any:v5": swapped})
    update(target, [f"{other}//sd15/any:v5"], config=config)
    assert_holds(tree_of(target, tmp_path / "tree"), "v5", swapped)


def test_what_is_up_to_date_is_only_tagged(config: Config, models: Path, target: str) -> None:
    done = update(target, [f"{models}//sd15/any:v5"], tag="latest", config=config)
    assert done.already
    assert done.sent_bytes == 0
    with image_at(target) as image:
        assert image.place.manifest("app", "latest").digest == image.place.manifest("app", "v5").digest == done.digest


def test_two_updates_on_two_clones_are_the_same(tmp_path: Path, models: Path, target: str) -> None:
    digests = {
        update(
            target, [f"{models}//sd15/any:v6"], tag=f"c{n}", config=Config(environ={"HOME": str(tmp_path / str(n))})
        ).digest
        for n in (1, 2)
    }
    assert len(digests) == 1


def test_signatures_of_the_image_before_are_said_and_stay(config: Config, models: Path, target: str) -> None:
    with image_at(target) as image:
        old = image.place.manifest("app", "v5")
        signature: dict[str, Any] = manifest_of(image)
        blob, size = put(image, b"signed")
        signature["layers"] = [{"mediaType": "application/x-sig", "digest": blob, "size": size}]
        cosign = json.dumps(signature).encode()
        image.place.put_manifest("app", old.digest.replace(":", "-") + ".sig", cosign, MANIFEST)
        signature |= {"subject": {"mediaType": MANIFEST, "digest": old.digest, "size": len(old.data)}}
        signature["artifactType"] = "application/vnd.example.sig"
        referring = json.dumps(signature).encode()
        image.place.put_manifest("app", digest_of(referring), referring, MANIFEST)
    done = update(target, [f"{models}//sd15/any:v6"], config=config)
    assert len(done.stale) == 2
    assert any(each.startswith(old.digest.replace(":", "-") + ".sig") for each in done.stale)
    assert any("application/vnd.example.sig" in each for each in done.stale)
    with image_at(target) as image:
        assert image.place.manifest("app", old.digest.replace(":", "-") + ".sig").data == cosign
        assert [each.digest for each in image.place.referrers("app", old.digest)] == [digest_of(referring)]
        assert image.place.manifest("app", old.digest).data == old.data
    assert update(target, [f"{models}//sd15/any:v7"], config=config).stale == ()


def test_an_image_that_moved_meanwhile_is_left_alone(config: Config, models: Path, target: str) -> None:
    class Mover(Progress):
        moved = False

        def advance(self, count: int) -> None:
            if not self.moved:
                self.moved = True
                build([f"{models}//other/one:v1"], target, config=config)

    with pytest.raises(Conflict, match="run the update again"):
        update(target, [f"{models}//sd15/any:v6"], config=config, progress=Mover())
    with image_at(target) as image:
        assert "sd15/any" not in manifest_of(image)["annotations"]["dev.hoist.versions"]


def test_every_platform_of_an_index(tmp_path: Path, config: Config, models: Path) -> None:
    base = f"oci-layout://{tmp_path}/multi:base:1"
    with image_at(base) as image:
        layers = {name: tar_of({"bin/sh": name.encode()}) for name in ("amd64", "arm64")}
        children = [put_base(image, [layer], reference=name, architecture=name) for name, layer in layers.items()]
        put_index(image, children)
    target = f"oci-layout://{tmp_path}/out:app:v5"
    build([f"{models}//sd15/any:v5"], target, base=base, config=config)
    done = update(target, [f"{models}//sd15/any:v6"], config=config)
    assert done.platforms == ("linux/amd64", "linux/arm64")
    assert done.sent_bytes < 1.01 * len(V6["vae.bin"])
    with image_at(target) as image:
        for child in manifest_of(image)["manifests"]:
            manifest = manifest_of(image, child["digest"])
            assert '"label":"v6"' in manifest["annotations"]["dev.hoist.versions"]
            assert config_of(image, manifest)["architecture"] == child["platform"]["architecture"]
            assert digest_of(layers[child["platform"]["architecture"]]) == manifest["layers"][0]["digest"]


def test_attestations_in_an_index_stay_with_the_index_before(config: Config, models: Path, target: str) -> None:
    with image_at(target) as image:
        old = image.place.manifest("app", "v5")
        attestation = put_base(image, [tar_of({"x": b"y"})], reference="att") | {
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.digest": old.digest},
        }
        child = {"mediaType": MANIFEST, "digest": old.digest, "size": len(old.data)}
        platform = {"os": "linux", "architecture": "amd64"}
        put_index(image, [child | {"platform": platform}, attestation])
        before = image.place.manifest("app", "v5")
    done = update(target, [f"{models}//sd15/any:v6"], config=config)
    assert done.stale == (attestation["digest"],)
    with image_at(target) as image:
        assert [each["platform"] for each in manifest_of(image)["manifests"]] == [platform]
        assert image.place.manifest("app", before.digest).data == before.data


def test_zstd_for_what_changed(tmp_path: Path, config: Config, models: Path, target: str) -> None:
    update(target, [f"{models}//sd15/any:v6"], compress="zstd", config=config)
    assert_holds(tree_of(target, tmp_path / "tree"), "v6", V6)
    # And on, from a layer that is compressed.
    done = update(target, [f"{models}//sd15/any:v7"], config=config)
    assert len(V7["new.bin"]) < done.sent_bytes < 1.01 * len(V7["new.bin"]) + 32 * 1024
    assert_holds(tree_of(target, tmp_path / "tree7"), "v7", V7)


def test_what_cannot_be_updated(tmp_path: Path, config: Config, models: Path, target: str) -> None:
    with pytest.raises(VersionNotFound, match=r"holds no model of Hoist's: hoist image build"):
        update(f"oci-layout://{tmp_path}/base:base:1", [f"{models}//sd15/any:v6"], config=config)
    more = model_folder(tmp_path / "more", {"sdxl/base:v1": {"w": b"w"}})
    with pytest.raises(VersionNotFound, match=r"it has other/one, sd15/any"):
        update(target, [f"{more}//sdxl/base:v1"], config=config)
    with image_at(target) as image:
        digest = image.place.manifest("app", "v5").digest
    with pytest.raises(UsageError, match="--tag"):
        update(f"oci-layout://{tmp_path}/out:app@{digest}", [f"{models}//sd15/any:v6"], config=config)
    done = update(f"oci-layout://{tmp_path}/out:app@{digest}", [f"{models}//sd15/any:v6"], tag="x", config=config)
    assert done.address.endswith(":app:x")
    both = f"oci-layout://{tmp_path}/out:app:both"
    build([f"{models}//sd15/any:v5", f"{models}//sd15/any:v6"], both, config=config)
    with pytest.raises(UsageError, match="several versions"):
        update(both, [f"{models}//sd15/any:v7"], config=config)
