"""`hoist image` on a real registry: bytes that move, memory, and images that other programs read and run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from image_makers import (
    BUSYBOX,
    MANIFEST,
    MIB,
    config_of,
    image_at,
    manifest_of,
    model_folder,
    need_program,
    put,
    put_base,
    tar_of,
)

from hoist.config import Config, load_config
from hoist.image.verbs import build, copy, plan, update
from hoist.model.manifest import digest_of
from hoist.model.reference import parse_reference
from hoist.read.version import open_version
from hoist.storage import open_storage
from hoist.storage.image.single import SingleImage
from hoist.testing.servers import DockerRegistry
from makers import SOURCE, directory_storage, finish, noise, publish, run_python, write_files

V5 = {"unet.bin": noise(6 * MIB), "vae.bin": noise(4 * MIB, 1), "a.json": b"{}", "t/b.txt": b"a b c"}
V6 = V5 | {"vae.bin": noise(4 * MIB, 2)}
TESTS = os.pathsep.join(map(str, (SOURCE, Path(__file__).parents[1], Path(__file__).parent)))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(environ={"HOME": str(tmp_path / "home")})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models") / "models", {"sd15/any:v5": V5, "sd15/any:v6": V6})


@pytest.fixture
def where(docker_registry: DockerRegistry) -> str:
    """A prefix of repositories of the test's own."""
    return f"{docker_registry.host}/t{uuid4().hex[:12]}"


@pytest.fixture
def base(where: str) -> str:
    text = f"{where}/base:1"
    with image_at(text) as image:
        files = {"bin/busybox": BUSYBOX.read_bytes()} if BUSYBOX.exists() else {"bin/x": noise(MIB)}
        put_base(image, [tar_of(files)], squeezed=True, config={"Env": ["PATH=/bin"], "WorkingDir": "/"})
    return text


def stored(registry: DockerRegistry) -> int:
    """Bytes of blobs that the registry keeps."""
    return sum(path.stat().st_size for path in registry.data_folder.rglob("blobs/*/*/*/data"))


def read_by(text: str, path: str) -> bytes:
    """A file of the version in an image, read by range out of the registry."""
    with image_at(text) as image:
        storage = SingleImage(image.place, image.repository, image.address.reference, "image")
        with open_version(storage, parse_reference("sd15/any:" + text.rpartition(":")[2])) as opened:
            return opened.read(path)


def test_build_update_and_read(
    docker_registry: DockerRegistry, config: Config, models: Path, where: str, base: str
) -> None:
    target = f"{where}/app:v5"
    planned = plan([f"{models}//sd15/any:v5"], base=base, tag=target, config=config)
    assert planned.layers[0].state == "mount"
    before = stored(docker_registry)
    done = build([f"{models}//sd15/any:v5"], target, base=base, config=config)
    size = sum(map(len, V5.values()))
    assert size < done.sent_bytes < 1.01 * size
    assert done.mounted_bytes == planned.layers[0].size
    grown = stored(docker_registry) - before
    # Other images of this registry may have some of the blobs.
    assert grown < 1.01 * size

    before = stored(docker_registry)
    changed = update(target, [f"{models}//sd15/any:v6"], tag="v6", config=config)
    assert len(V6["vae.bin"]) < changed.sent_bytes < 1.01 * len(V6["vae.bin"])
    assert stored(docker_registry) - before < 1.01 * len(V6["vae.bin"])
    for label, files in (("v5", V5), ("v6", V6)):
        for path, data in files.items():
            assert read_by(f"{where}/app:{label}", path) == data


def test_a_second_repository_costs_next_to_nothing(
    docker_registry: DockerRegistry, config: Config, models: Path, where: str, base: str
) -> None:
    one = build([f"{models}//sd15/any:v5"], f"{where}/one:v5", base=base, config=config)
    before = stored(docker_registry)
    two = build([f"{models}//sd15/any:v5"], f"{where}/two:v5", base=base, config=config)
    three = copy(f"{where}/one:v5", f"{where}/three:v5", config=config)
    assert one.digest == two.digest == three.digest
    for sent in (two.sent_bytes, three.sent_bytes, stored(docker_registry) - before):
        assert sent < 0.01 * one.size


def test_a_model_that_is_published_in_the_registry_is_mounted(
    docker_registry: DockerRegistry, tmp_path: Path, where: str, base: str
) -> None:
    """Its layers are read here, as nobody is believed, and not sent."""
    # Of content of its own, so that this host's notes do not lead to another test's repository.
    files = {"own.bin": noise(5 * MIB, hash(where)), "a.json": b"{}"}
    source = write_files(tmp_path / "source", files)
    prefix = f"oci://{where}/models"
    config = load_config({"HOME": str(tmp_path / "one")}, tmp_path)
    with open_storage(config.storage(prefix), config.environ) as published:
        publish(source, published, "sd15/any:v5")
    before = stored(docker_registry)
    other = load_config({"HOME": str(tmp_path / "two")}, tmp_path)
    done = build([f"{prefix}//sd15/any:v5"], f"{where}/app:v5", base=base, config=other)
    assert done.mounted_bytes > 5 * MIB
    for sent in (done.sent_bytes, stored(docker_registry) - before):
        assert sent < 0.01 * done.size
    assert read_by(f"{where}/app:v5", "own.bin") == files["own.bin"]


def test_signatures_come_along_also_where_a_registry_does_not_list_them(
    tmp_path: Path, config: Config, models: Path, where: str
) -> None:
    build([f"{models}//sd15/any:v5"], f"oci-layout://{tmp_path}/out:app:v5", config=config)
    with image_at(f"oci-layout://{tmp_path}/out:app:v5") as image:
        signed = image.place.manifest("app", "v5")
        subject = {"mediaType": MANIFEST, "digest": signed.digest, "size": len(signed.data)}
        names = []
        for number in range(2):
            blob, size = put(image, f"signature {number}".encode())
            empty, empty_size = put(image, b"{}")
            document = {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": "application/x-sig",
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": empty_size},
                "layers": [{"mediaType": "application/x-sig", "digest": blob, "size": size}],
                "subject": subject,
            }
            data = json.dumps(document).encode()
            names.append(digest_of(data))
            image.place.put_manifest("app", names[-1], data, MANIFEST)
    for source, target in (
        (f"oci-layout://{tmp_path}/out:app:v5", f"{where}/one:v5"),
        (f"{where}/one:v5", f"{where}/two:v5"),
        (f"{where}/two:v5", f"oci-layout://{tmp_path}/back:app:v5"),
    ):
        assert set(copy(source, target, config=config).referring) == set(names)
        with image_at(target) as image:
            found = image.place.referrers(image.repository, signed.digest)
            assert {(each.digest, each.artifact_type) for each in found} == {
                (name, "application/x-sig") for name in names
            }
    stale = update(f"{where}/two:v5", [f"{models}//sd15/any:v6"], config=config).stale
    assert set(stale) == {f"{name} (application/x-sig)" for name in names}


def test_from_a_registry_to_a_folder_and_on(
    tmp_path: Path, config: Config, models: Path, where: str, base: str
) -> None:
    done = build([f"{models}//sd15/any:v5"], f"{where}/app:v5", base=base, modelpack=True, config=config)
    away = copy(f"{where}/app:v5", f"oci-layout://{tmp_path}/usb:app:v5", config=config)
    back = copy(f"oci-layout://{tmp_path}/usb:app:v5", f"{where}/back:v5", config=config)
    assert done.digest == away.digest == back.digest
    with image_at(f"{where}/app:v5") as one, image_at(f"{where}/back:v5") as other:
        assert manifest_of(one, "v5-modelpack") == manifest_of(other, "v5-modelpack")


def test_a_build_that_is_killed_goes_on(docker_registry: DockerRegistry, tmp_path: Path, where: str) -> None:
    """No tag names what is not whole, and the next run sends the layers that are missing."""
    files = {"a.bin": noise(20 * MIB, 5), "b.bin": noise(20 * MIB, 6)}
    folder = model_folder(tmp_path / "models", {"m/big:v1": files})
    code = """
import os, signal, sys
from hoist.config import load_config
from hoist.image.verbs import build
from hoist.progress import Progress
class Killer(Progress):
    done = 0
    def advance(self, count):
        self.done += count
        if self.done > 30 << 20:
            os.kill(os.getpid(), signal.SIGKILL)
build([sys.argv[1]], sys.argv[2], progress=Killer())
"""
    home = str(tmp_path / "home")
    process = run_python(code, f"{folder}//m/big:v1", f"{where}/app:v1", HOME=home)
    process.communicate(timeout=60)
    assert process.returncode == -9
    with image_at(f"{where}/app:v1") as image:
        assert list(image.place.tags(image.repository)) == []
    config = load_config({"HOME": home}, tmp_path)
    done = build([f"{folder}//m/big:v1"], f"{where}/app:v1", config=config)
    assert done.sent_bytes < 21 * MIB
    with image_at(f"{where}/app:v1") as image:
        layer = manifest_of(image)["layers"][0]
        # Checked while it is read.
        with image.place.stream_blob(image.repository, layer["digest"], layer["size"]) as slices:
            assert sum(map(len, slices)) == layer["size"]


@pytest.mark.long
def test_memory_is_bounded_whatever_the_size(tmp_path: Path, where: str) -> None:
    """512 MiB of weights, small files and a base of 64 MiB that passes through."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "w.bin").open("wb") as file:
        for piece in [noise(8 * MIB), noise(8 * MIB, 1)] * 32:
            file.write(piece)
    for number in range(24):
        (source / f"{number}.small").write_bytes(noise(3 * MIB, number))
    publish(source, directory_storage(tmp_path / "models"), "m/big:v1")
    base = f"oci-layout://{tmp_path}/base:base:1"
    with image_at(base) as image:
        put_base(image, [noise(64 * MIB, 77)])
    code = """
import sys
from hoist.image.verbs import build
build([sys.argv[1]], sys.argv[2], base=sys.argv[3])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    process = run_python(code, f"{tmp_path}/models//m/big:v1", f"{where}/app:v1", base, HOME=str(tmp_path / "home"))
    assert int(finish(process)) < 256 * 1024


def test_skopeo_reads_and_copies_it(tmp_path: Path, config: Config, models: Path, where: str, base: str) -> None:
    skopeo = need_program("skopeo")
    done = build([f"{models}//sd15/any:v5"], f"{where}/app:v5", base=base, config=config)
    shown = subprocess.run(
        [skopeo, "inspect", "--tls-verify=false", f"docker://{where}/app:v5"], check=True, capture_output=True
    )
    found = json.loads(shown.stdout)
    assert found["Digest"] == done.digest
    assert found["Architecture"] == "amd64"
    assert len(found["Layers"]) == done.layers
    copied = [f"docker://{where}/app:v5", f"oci:{tmp_path}/theirs:v5"]
    subprocess.run(
        [skopeo, "--insecure-policy", "copy", "--src-tls-verify=false", "--preserve-digests", *copied],
        check=True, capture_output=True,
    )  # fmt: skip
    # What skopeo has written is updated as what Hoist has.
    again = update(f"oci-layout://{tmp_path}/theirs:v5", [f"{models}//sd15/any:v6"], tag="v6", config=config)
    assert again.sent_bytes < 1.01 * len(V6["vae.bin"])


def test_what_skopeo_compressed_anew_is_updated_still(tmp_path: Path, config: Config, where: str, base: str) -> None:
    skopeo = need_program("skopeo")
    # Of content of its own: skopeo remembers what it has seen uncompressed at a registry.
    own = {"own.bin": noise(5 * MIB, hash(where)), "vae.bin": noise(4 * MIB, 1)}
    models = model_folder(tmp_path / "own", {"sd15/any:v5": own, "sd15/any:v6": own | {"vae.bin": V6["vae.bin"]}})
    build([f"{models}//sd15/any:v5"], f"oci-layout://{tmp_path}/ours:app:v5", base=base, config=config)
    copied = [f"oci:{tmp_path}/ours:app:v5", f"docker://{where}/squeezed:v5"]
    subprocess.run(
        [skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", *copied], check=True, capture_output=True
    )
    with image_at(f"{where}/squeezed:v5") as image:
        before = manifest_of(image)
        assert before["layers"][1]["mediaType"].endswith("gzip")
    done = update(f"{where}/squeezed:v5", [f"{models}//sd15/any:v6"], tag="v6", config=config)
    assert done.sent_bytes < 1.01 * len(V6["vae.bin"])
    assert read_by(f"{where}/squeezed:v6", "own.bin") == own["own.bin"]
    assert read_by(f"{where}/squeezed:v6", "vae.bin") == V6["vae.bin"]


def test_podman_runs_what_was_built_and_updated(
    tmp_path: Path, config: Config, models: Path, where: str, base: str
) -> None:
    podman, _ = need_program("podman"), need_program("runc")
    need_program("busybox", "busybox-static")
    build([f"{models}//sd15/any:v5"], f"{where}/app:v5", base=base, config=config)
    update(f"{where}/app:v5", [f"{models}//sd15/any:v6"], tag="v6", config=config)
    # Podman takes no long path for these.
    short = Path(tempfile.mkdtemp(dir="/tmp", prefix="pod"))
    folders = [f"--{name}={short / name}" for name in ("root", "runroot", "tmpdir")]
    engine = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc"]
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "--network=none", "--tls-verify=false"]
    seen = ["busybox", "sha256sum", *(f"/models/sd15/any/v6/{path}" for path in V6)]
    done = subprocess.run(
        [podman, *folders, *engine, "run", "--rm", *limits, f"{where}/app:v6", *seen],
        check=False, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    shutil.rmtree(short, ignore_errors=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [
        f"{hashlib.sha256(data).hexdigest()}  /models/sd15/any/v6/{path}" for path, data in V6.items()
    ]


def test_documents_as_the_oci_schema_has_them(config: Config, models: Path, where: str, base: str) -> None:
    """What every reader relies on, field by field."""
    build([f"{models}//sd15/any:v5"], f"{where}/app:v5", base=base, modelpack=True, config=config)
    with image_at(f"{where}/app:v5") as image:
        for reference in ("v5", "v5-modelpack"):
            manifest = manifest_of(image, reference)
            assert set(manifest) <= {"schemaVersion", "mediaType", "artifactType", "config", "layers", "annotations"}
            assert manifest["schemaVersion"] == 2
            for blob in (manifest["config"], *manifest["layers"]):
                assert set(blob) <= {"mediaType", "digest", "size", "annotations"}
                assert image.place.blob_size(image.repository, blob["digest"]) == blob["size"]
        found = config_of(image, manifest_of(image))
    assert {"architecture", "os", "rootfs", "config", "history"} <= set(found)
    assert found["rootfs"]["type"] == "layers"
