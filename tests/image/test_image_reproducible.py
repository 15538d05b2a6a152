"""Two builds on two clones give the same digest: other checkouts, caches, users, clocks and settings change nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from image_makers import MIB, image_at, put_base, tar_of

from hoist.testing.servers import DockerRegistry
from makers import SOURCE, files_below, noise, write_files

FILES = {
    "unet.bin": noise(5 * MIB),
    "vae.bin": noise(4 * MIB, 1),
    "config.json": b"{}",
    "é/ü.txt": b"not ASCII",
    "a" * 120 + "/" + "b" * 120: b"long",
}
NOBODY = 65534
SETTINGS = (
    {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1", "umask": "022"},
    {"TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8", "PYTHONHASHSEED": "99", "umask": "077"},
)
COMMANDS = """
import contextlib, encodings.idna, encodings.latin_1, io, json, os, sys
import hoist.cli, hoist.cli.bring, hoist.cli.image, hoist.cli.progress
import hoist.image.verbs, hoist.storage.image.open_image, hoist.storage.open_directory, hoist.verbs
order = json.loads(sys.argv[1])
os.umask(int(order["umask"], 8))
if order["nobody"]:
    # Only now, as that user may not read this Python's own files.
    os.setgroups([])
    os.setgid(order["nobody"])
    os.setuid(order["nobody"])
*before, last = order["commands"]
for words in before:
    with contextlib.redirect_stdout(io.StringIO()):
        assert hoist.cli.main(words) == 0
sys.exit(hoist.cli.main(last))
"""


def clone(folder: Path, number: int) -> Path:
    """A checkout of the source, with times of its own, and the files copied in another order and with other modes."""
    shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    paths = sorted(FILES, reverse=bool(number))
    write_files(folder / "files", {path: FILES[path] for path in paths})
    for path in paths:
        os.utime(folder / "files" / path, (10**9 * (1 + number), 10**9))
        (folder / "files" / path).chmod(0o600 if number else 0o755)
    return folder


def run_clone(folder: Path, number: int, base: str, target: str, published: str) -> str:
    """Publish and build by the clone's own commands, the second as another user where that can be; the digest."""
    settings = dict(SETTINGS[number])
    for name in ("home", "models", "published"):
        (folder / name).mkdir()
    nobody = NOBODY if number and os.getuid() == 0 else 0
    for path in (folder, *folder.rglob("*")) if nobody else ():
        os.chown(path, nobody, nobody)
    model = f"{folder}/models//sd15/any:v5"
    made = ["--base", base, "--tag", target, "--env", "B=2", "--env", "A=1", "--modelpack", "--quiet", "--json"]
    order = {
        "umask": settings.pop("umask"),
        "nobody": nobody,
        "commands": [
            ["publish", f"{folder}/files", model, "--quiet"],
            ["publish", f"{folder}/files", f"{published}//sd15/any:v5", "--quiet"],
            ["image", "build", "--model", model, *made],
        ],
    }
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder / "src"), "HOME": str(folder / "home"), **settings}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(order)],
        cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return str(json.loads(done.stdout)["digest"])


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that another user reaches, too."""
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_uid == os.getuid() and each not in (Path("/"), Path("/tmp")):
            each.chmod(each.stat().st_mode | 0o055)
    return tmp_path


def test_two_builds_on_two_clones(open_folder: Path, docker_registry: DockerRegistry) -> None:
    """Into two layouts, of which one is copied to a registry; and into the registry itself."""
    where = f"{docker_registry.host}/t{uuid4().hex[:12]}"
    base = f"{where}/base:1"
    with image_at(base) as image:
        put_base(image, [tar_of({"bin/x": noise(MIB)})], squeezed=True)
    digests, stored = [], []
    for number in range(2):
        folder = clone(open_folder / f"clone{number}", number)
        layout = folder / "out"
        targets = (f"oci-layout://{layout}:app:v5", f"oci-layout://{folder}/published")
        digests.append(run_clone(folder, number, base, *targets))
        stored.append(files_below(layout / "blobs") | files_below(folder / "published/blobs"))
    assert digests[0] == digests[1]
    assert stored[0] == stored[1]
    third = clone(open_folder / "clone2", 0)
    assert run_clone(third, 0, base, f"{where}/app:v5", f"oci://{where}/models") == digests[0]
    with image_at(f"{where}/models/sd15/any:v5") as image:
        digest = image.place.manifest(image.repository, "v5").digest
    assert digest.replace(":", "/") in stored[0]
