"""Containers of what was built: a Python in which Hoist verifies and loads, and whatever containerd makes of it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from image_makers import BUSYBOX, MIB, image_at, model_folder, need_program, put_base, tar_of
from python_rootfs import HOIST, PYTHON, hoist_layer, python_layer

from hoist.config import Config
from hoist.image.editing import Edits
from hoist.image.verbs import build, update
from hoist.testing.servers import DockerRegistry
from hoist.testing.servers.children import Children
from makers import Raw, noise, safetensors_bytes

TENSORS = [Raw(f"block.{n}.weight", "F16", [MIB], noise(2 * MIB, n)) for n in range(3)]
V5 = {
    "unet/model.safetensors": safetensors_bytes(TENSORS),
    "vae.bin": noise(4 * MIB, 1),
    "config.json": b"{}",
    "text/vocab.txt": b"a b c",
}
V6 = V5 | {"vae.bin": noise(4 * MIB, 2)}
INSIDE = """
import hashlib, json
import hoist
listed = [str(item.version) for item in hoist.list("/models")]
location = "/models//" + listed[0]
report = hoist.verify(location)
hoist.pull(location, "/tmp/out")
with hoist.open(location) as opened:
    files = {entry.path: hashlib.sha256(opened.read(entry.path)).hexdigest() for entry in opened.manifest.files}
    vocabulary = open("/tmp/out/text/vocab.txt").read()
print(json.dumps({"bad": len(report.damaged), "files": files, "vocabulary": vocabulary, "listed": listed}))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models") / "models", {"sd15/any:v5": V5, "sd15/any:v6": V6})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(environ={"HOME": str(tmp_path / "home")})


def run_container(layout: Path, tag: str, folder: Path) -> str:
    """Unpack an image by umoci and run it by runc, without a network; what it printed."""
    umoci, runc = need_program("umoci"), need_program("runc")
    subprocess.run([umoci, "unpack", "--image", f"{layout}:{tag}", str(folder)], check=True, capture_output=True)
    file = folder / "config.json"
    document = json.loads(file.read_text())
    # Limits cannot be raised everywhere, and no terminal is here.
    document["process"] |= {"rlimits": [], "terminal": False}
    file.write_text(json.dumps(document))
    name = f"hoist-{uuid4().hex}"
    done = subprocess.run(
        [runc, "--root", str(folder / "state"), "run", "--bundle", str(folder), name],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_hoist_loads_inside_a_container_of_its_own_image(tmp_path: Path, config: Config, models: Path) -> None:
    """Built, then updated: what a function does at its start."""
    for name in ("umoci", "runc"):
        need_program(name)
    base = f"oci-layout://{tmp_path}/base:python"
    with image_at(base) as image:
        env = ["PATH=/usr/bin:/bin", f"PYTHONPATH={HOIST}", "HOME=/root", "PYTHONDONTWRITEBYTECODE=1"]
        put_base(image, [python_layer(), hoist_layer()], config={"Env": env, "WorkingDir": "/"})
    edits = Edits(entrypoint=[PYTHON, "-c", INSIDE])
    target = f"oci-layout://{tmp_path}/out:v5"
    build([f"{models}//sd15/any:v5"], target, base=base, edits=edits, config=config)
    update(target, [f"{models}//sd15/any:v6"], tag="v6", config=config)
    found = json.loads(run_container(tmp_path / "out", "v6", tmp_path / "bundle"))
    assert found == {
        "bad": 0,
        "listed": ["sd15/any:v6"],
        "vocabulary": "a b c",
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in V6.items()},
    }


@pytest.fixture
def containerd() -> Iterator[list[str]]:
    """The words that begin a command of a containerd of the test's own."""
    server, client = need_program("containerd"), need_program("ctr", "containerd")
    need_program("runc")
    children = Children("containerd")
    # A socket's path must be short.
    folder = children.folder
    plugins = [
        "grpc.v1.cri",
        "snapshotter.v1.btrfs",
        "snapshotter.v1.devmapper",
        "snapshotter.v1.zfs",
        "internal.v1.opt",
    ]
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f"disabled_plugins = {json.dumps([f'io.containerd.{each}' for each in plugins])}\n"
        f'[grpc]\naddress = "{folder}/socket"\n'
    )
    try:
        path = os.pathsep.join((os.environ["PATH"], "/usr/local/sbin", "/usr/sbin"))
        children.start("containerd", [server, "-c", str(folder / "config.toml")], {"PATH": path})
        ctr = [client, "--address", str(folder / "socket")]
        until = time.monotonic() + 30
        while subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode:
            children.check()
            assert time.monotonic() < until, children.log_tail()
            time.sleep(0.1)
        yield ctr
    finally:
        children.stop(10)


def test_containerd_runs_it(
    docker_registry: DockerRegistry, containerd: list[str], tmp_path: Path, config: Config, models: Path
) -> None:
    """It checks every digest and diff_id itself, and lays the links of an update into the tree."""
    need_program("busybox", "busybox-static")
    name = f"{docker_registry.host}/t{uuid4().hex[:12]}"
    with image_at(f"{name}/base:1") as image:
        put_base(image, [tar_of({"bin/busybox": BUSYBOX.read_bytes()})], config={"Env": ["PATH=/bin"]})
    build([f"{models}//sd15/any:v5"], f"{name}/app:v5", base=f"{name}/base:1", config=config)
    update(f"{name}/app:v5", [f"{models}//sd15/any:v6"], tag="v6", config=config)
    pulled = ["images", "pull", "--plain-http", "--snapshotter=native", "--platform=linux/amd64", f"{name}/app:v6"]
    done = subprocess.run([*containerd, *pulled], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    run = ["run", "--rm", "--snapshotter=native", "--cgroup=", f"{name}/app:v6", uuid4().hex]
    words = ["busybox", "sha256sum", *(f"/models/sd15/any/v6/{path}" for path in V6)]
    done = subprocess.run([*containerd, *run, *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{hashlib.sha256(data).hexdigest()}  /models/sd15/any/v6/{path}" for path, data in V6.items()
    ]
