"""Images that other programs pushed: Hoist lists, verifies, pulls and updates them, and builds upon them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from image_makers import MIB, image_at, manifest_of, model_folder, need_program

from hoist.config import Config
from hoist.errors import StorageNotFound, StorageUnsupported, VersionNotFound
from hoist.image.verbs import build, update
from hoist.testing.servers import DockerRegistry
from makers import files_below, noise
from zygote import User, Zygote

LARGE = {"unet.bin": noise(5 * MIB), "vae.bin": noise(4 * MIB, 1)}
SMALL = {"config.json": b"{}", "text/vocab.txt": b"a b c"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(environ={"HOME": str(tmp_path / "home")})


@pytest.fixture
def where(docker_registry: DockerRegistry) -> str:
    return f"{docker_registry.host}/t{uuid4().hex[:12]}"


@pytest.fixture
def files(where: str) -> dict[str, bytes]:
    """Of content of its own: skopeo remembers what it has seen, and where."""
    return LARGE | SMALL | {"own.bin": noise(4 * MIB, hash(where))}


@pytest.fixture
def models(tmp_path: Path, files: dict[str, bytes]) -> Path:
    changed = files | {"vae.bin": noise(4 * MIB, 2), "config.json": b"[]"}
    return model_folder(tmp_path / "models", {"sd15/any:v5": files, "sd15/any:v6": changed})


@pytest.fixture
def user(zygote: Zygote, tmp_path: Path, where: str) -> User:
    """Somebody who has never seen these images."""
    (tmp_path / "somebody").mkdir()
    return User(zygote, tmp_path / "somebody", {"HOIST_STORAGE_HERE_URL": f"oci://{where}/models"})


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[list[str]]:
    """The words that begin a command of buildah, with a store of its own."""
    program = need_program("buildah")
    store = tmp_path / "store"
    yield [program, f"--root={store}/root", f"--runroot={store}/run", "--storage-driver=vfs"]
    run("umount", "-l", str(store / "root/vfs"), check=False)


def run(*words: str, check: bool = True) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def read_by(user: User, image: str, label: str, files: Mapping[str, bytes]) -> None:
    """List, verify and pull the one version in an image."""
    (listed,) = user.run("list", f"oci://{image}", "--json").json["versions"]
    assert (listed["name"], listed["version"], listed["problem"]) == ("sd15/any", label, None)
    user.run("verify", f"oci://{image}//sd15/any:{label}", "--quiet")
    folder = f"out-{uuid4().hex[:6]}"
    user.run("pull", f"oci://{image}//sd15/any:{label}", folder, "--quiet")
    assert files_below(user.home / folder) == files


@pytest.mark.parametrize("how", ["as it is", "zstd"])
def test_what_skopeo_copied(
    user: User, where: str, models: Path, files: dict[str, bytes], config: Config, tmp_path: Path, how: str
) -> None:
    """A version that was published, and an image that was built."""
    skopeo = need_program("skopeo")
    source = f"oci-layout://{tmp_path}/ours"
    user.run("publish", f"{models}/sd15/any/v5", f"{source}//sd15/any:v5", "--quiet")
    build([f"{models}//sd15/any:v5"], f"{source}:app:v5", config=config)
    squeeze = ["--preserve-digests"] if how == "as it is" else ["--dest-compress", f"--dest-compress-format={how}"]
    for ours, theirs in (("sd15/any:v5", "models/sd15/any:v5"), ("app:v5", "app:v5")):
        run(skopeo, "--insecure-policy", "copy", *squeeze, "--dest-tls-verify=false",
            f"oci:{tmp_path}/ours:{ours}", f"docker://{where}/{theirs}")  # fmt: skip
    (listed,) = user.run("list", "here", "--json").json["versions"]
    assert (listed["version"], listed["problem"]) == ("v5", None)
    user.run("verify", "here//sd15/any:v5", "--quiet")
    user.run("pull", "here//sd15/any:v5", "out", "--quiet")
    assert files_below(user.home / "out") == files
    read_by(user, f"{where}/app:v5", "v5", files)
    done = update(f"{where}/app:v5", [f"{models}//sd15/any:v6"], tag="v6", config=config)
    assert done.sent_bytes < 4.1 * MIB
    changed = files_below(models / "sd15/any/v6")
    read_by(user, f"{where}/app:v6", "v6", changed)


def test_what_buildah_built_from_ours(
    user: User, where: str, buildah: list[str], models: Path, files: dict[str, bytes], config: Config, tmp_path: Path
) -> None:
    """It writes the manifest anew and compresses every layer: labels say what annotations did."""
    build([f"{models}//sd15/any:v5"], f"{where}/app:v5", config=config)
    name = run(*buildah, "from", "--tls-verify=false", f"{where}/app:v5").strip()
    (tmp_path / "server.py").write_text("print('serving')")
    run(*buildah, "config", "--env", "MODE=fast", "--cmd", "python3 /srv/server.py", name)
    run(*buildah, "copy", name, str(tmp_path / "server.py"), "/srv/server.py")
    run(*buildah, "commit", "--rm", name, "theirs")
    run(*buildah, "push", "--tls-verify=false", "theirs", f"docker://{where}/theirs:v5")
    read_by(user, f"{where}/theirs:v5", "v5", files)
    done = update(f"{where}/theirs:v5", [f"{models}//sd15/any:v6"], tag="v6", config=config)
    assert done.sent_bytes < 4.1 * MIB
    read_by(user, f"{where}/theirs:v6", "v6", files_below(models / "sd15/any/v6"))
    with image_at(f"{where}/theirs:v6") as image:
        manifest = manifest_of(image)
        blob = manifest["config"]
        found = json.loads(image.place.read_blob(image.repository, blob["digest"], blob["size"]))
    # What buildah has added is kept.
    assert "MODE=fast" in found["config"]["Env"]
    assert len(found["rootfs"]["diff_ids"]) == len(manifest["layers"])
    # And is a base for another model.
    other = model_folder(tmp_path / "other", {"m/lora:v1": {"lora.bin": noise(5 * MIB, 9)}})
    build([f"{other}//m/lora:v1"], f"{where}/both:v1", base=f"{where}/theirs:v6", config=config)
    listed = user.run("list", f"oci://{where}/both:v1", "--json").json["versions"]
    assert [(each["name"], each["problem"]) for each in listed] == [("m/lora", None), ("sd15/any", None)]
    user.run("verify", f"oci://{where}/both:v1//m/lora:v1", "--quiet")


def test_bases_that_buildah_and_skopeo_pushed(
    user: User, where: str, buildah: list[str], models: Path, files: dict[str, bytes], config: Config, tmp_path: Path
) -> None:
    """One in Docker's format, and one that skopeo has made of it in OCI's."""
    skopeo = need_program("skopeo")
    name = run(*buildah, "from", "scratch").strip()
    (tmp_path / "tool").write_text("a tool")
    run(*buildah, "copy", name, str(tmp_path / "tool"), "/bin/tool")
    run(*buildah, "config", "--env", "A=1", "--label", "k=v", name)
    run(*buildah, "commit", "--format=docker", "--rm", name, "base")
    run(*buildah, "push", "--tls-verify=false", "--format=v2s2", "base", f"docker://{where}/docker:1")
    run(skopeo, "--insecure-policy", "copy", "--format=oci", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{where}/docker:1", f"docker://{where}/oci:1")  # fmt: skip
    for base in ("docker", "oci"):
        build([f"{models}//sd15/any:v5"], f"{where}/on-{base}:v5", base=f"{where}/{base}:1", config=config)
        read_by(user, f"{where}/on-{base}:v5", "v5", files)
        shown = json.loads(run(skopeo, "inspect", "--tls-verify=false", f"docker://{where}/on-{base}:v5"))
        assert "A=1" in shown["Env"]
        assert shown["Labels"]["k"] == "v"


def test_what_oras_carried(
    user: User, where: str, models: Path, files: dict[str, bytes], config: Config, tmp_path: Path
) -> None:
    """A client that knows artifacts alone pulls all blobs and the manifest, and pushes them elsewhere, as they were."""
    from oras.client import OrasClient

    build([f"{models}//sd15/any:v5"], f"{where}/app:v5", modelpack=True, config=config)
    client = OrasClient(insecure=True, tls_verify=False)
    source, target = client.get_container(f"{where}/app:v5"), client.get_container(f"{where}/carried:v5")
    manifest = client.get_manifest(source)
    for blob in (manifest["config"], *manifest["layers"]):
        path = client.download_blob(source, blob["digest"], str(tmp_path / blob["digest"][7:]))
        response = client.upload_blob(str(path), target, blob)
        assert response.status_code in (200, 201), response.text
    response = client.upload_manifest(manifest, target)
    assert response.status_code == 201
    read_by(user, f"{where}/carried:v5", "v5", files)
    done = update(f"{where}/carried:v5", [f"{models}//sd15/any:v6"], tag="v6", config=config)
    assert done.sent_bytes < 4.1 * MIB
    read_by(user, f"{where}/carried:v6", "v6", files_below(models / "sd15/any/v6"))
    # ModelPack's clients find each file's archive, by its path.
    pack = client.get_manifest(client.get_container(f"{where}/app:v5-modelpack"))
    assert {layer["annotations"]["org.cncf.model.filepath"] for layer in pack["layers"]} >= {
        "models/sd15/any/v5/unet.bin"
    }


def test_artifacts_that_oras_pushed_are_no_versions(
    user: User, where: str, models: Path, config: Config, tmp_path: Path
) -> None:
    """A model of another tool lies beside versions: it is not listed, and who names it is told what it is."""
    from oras.client import OrasClient

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    user.run("publish", f"{models}/sd15/any/v5", "here//sd15/any:v5", "--quiet")
    client = OrasClient(insecure=True, tls_verify=False)
    name = f"{where}/models/sd15/any:raw"
    client.push(
        target=name,
        files=[f"{tmp_path}/model.safetensors:application/vnd.cncf.model.weight.v1.raw"],
        manifest_config=None,
        disable_path_validation=True,
        manifest_annotations={"org.cncf.model.name": "any"},
    )
    listed = user.run("list", "here", "--json").json["versions"]
    assert [each["version"] for each in listed] == ["v5"]
    for words in (["verify", "here//sd15/any:raw"], ["pull", "here//sd15/any:raw", "out"]):
        refused = user.refused(*words)
        assert refused.code == 3
        assert "raw" in refused.error
    assert "no model" in user.refused("list", f"oci://{name}").error
    assert user.refused("publish", str(tmp_path / "model.safetensors"), "here//sd15/any:raw", "--unchecked").code == 4
    actions: tuple[Callable[[], object], ...] = (
        lambda: update(name, [f"{models}//sd15/any:v6"], config=config),
        lambda: build([f"{models}//sd15/any:v6"], f"{where}/x:1", base=name, config=config),
    )
    for action in actions:
        with pytest.raises((StorageUnsupported, VersionNotFound, StorageNotFound), match="raw"):
            action()
