"""A version's whole life by commands, in a registry and in a layout; and what other tools make of the image."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from hoist.testing.servers import DockerRegistry
from makers import Raw, files_below, noise, safetensors_bytes, write_files
from oci_tools import program
from zygote import User, Zygote

MIB = 1 << 20
TENSORS = [Raw(f"block.{n}.weight", "F16", [MIB], noise(2 * MIB, n)) for n in range(3)]
FILES = {
    "unet/model.safetensors": safetensors_bytes(TENSORS),
    "vae/model.safetensors": safetensors_bytes(TENSORS[:2]),
    "config.json": b"{}",
    "tokenizer/merges.txt": noise(30_000, 9),
    "empty": b"",
}
SIZE = sum(map(len, FILES.values()))
KILLS = 6


@pytest.fixture(params=["layout", "registry"])
def user(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> User:
    """A user whose storage `here` is a layout folder, or a registry."""
    if request.param == "layout":
        (tmp_path / "images").mkdir()
        return User(zygote, tmp_path, {"HOIST_STORAGE_HERE_URL": f"oci-layout://{tmp_path}/images"})
    server: DockerRegistry = request.getfixturevalue("docker_registry")
    return User(zygote, tmp_path, {"HOIST_STORAGE_HERE_URL": f"oci://{server.host}/{uuid4().hex}"})


@pytest.fixture
def layout_user(zygote: Zygote, tmp_path: Path) -> Iterator[User]:
    """A user whose storage `here` is a layout folder with one version in it."""
    (tmp_path / "images").mkdir()
    write_files(tmp_path / "m", FILES)
    (tmp_path / "m" / "again.safetensors").symlink_to("unet/model.safetensors")
    found = User(zygote, tmp_path, {"HOIST_STORAGE_HERE_URL": f"oci-layout://{tmp_path}/images"})
    found.run("publish", "m", "here//sd15/any:v1", "--quiet")
    yield found


def test_whole_life_of_a_version(user: User) -> None:
    write_files(user.home / "m", FILES)
    done = user.run("publish", "m", "here//sd15/any:v1", "--tag", "stable", "--json").json
    assert (done["size_bytes"], done["sent_bytes"], done["already"], done["exclusive"]) == (SIZE, SIZE, False, False)
    again = user.run("publish", "m", "here//sd15/any:v1", "--json").json
    assert (again["already"], again["sent_bytes"]) == (True, 0)
    (listed,) = user.run("list", "here", "--json").json["versions"]
    assert (listed["name"], listed["version"], listed["digest"], listed["tags"], listed["problem"]) == (
        "sd15/any",
        "v1",
        done["digest"],
        ["stable"],
        None,
    )
    found = user.run("inspect", "here//sd15/any:stable", "--tensors", "--json").json
    assert (found["version"], found["digest"], len(found["files"])) == ("v1", done["digest"], len(FILES))
    assert user.run("verify", f"here//sd15/any@{done['digest']}", "--json").json["ok"]
    assert user.run("load", "here//sd15/any:stable", "unet/model.safetensors", "--json").json["tensors"] == 3
    assert user.run("tag", "here//sd15/any:v1", "latest", "--json").json["tag"] == "latest"
    pulled = user.run("pull", "here//sd15/any", "out", "--json").json
    assert pulled["fetched_bytes"] == SIZE
    assert files_below(user.home / "out") == FILES

    write_files(
        user.home / "m", {"vae/model.safetensors": safetensors_bytes([Raw("w", "U8", [5 * MIB], noise(5 * MIB, 5))])}
    )
    done = user.run("publish", "m", "here//sd15/any:v2", "--json").json
    assert done["copied_bytes"] == len(FILES["unet/model.safetensors"])
    user.run("verify", "here//sd15/any:v2", "--quiet")
    assert user.refused("publish", "m", "here//sd15/any:v1", "--quiet").code == 4
    assert user.refused("publish", "m", "here//sd15/any:stable", "--quiet").code == 4
    assert user.refused("collect", "here").code == 6

    assert user.refused("rm", "here//sd15/any:v1", "--yes").code == 4
    user.run("rm", "here//sd15/any:latest", "--yes")
    user.run("remove", "here//sd15/any:v1", "--yes", "--force")
    assert [each["version"] for each in user.run("list", "here", "--json").json["versions"]] == ["v2"]
    user.run("verify", "here//sd15/any:v2", "--quiet")


def test_another_repository_with_the_same_model(
    docker_registry: DockerRegistry, zygote: Zygote, tmp_path: Path
) -> None:
    """Nothing but documents is sent: also by a host that has no notes, where the registry can be listed."""
    write_files(tmp_path / "m", FILES)
    one, two = (f"oci://{docker_registry.host}/{uuid4().hex}" for _ in range(2))
    user = User(zygote, tmp_path, {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    user.run("publish", "m", f"{one}//sd15/any:v1", "--quiet")
    other = user.with_env(XDG_CACHE_HOME=str(tmp_path / "other-cache"))
    done = other.run("publish", "m", f"{two}//sd15/any:v1", "--json").json
    large = sum(len(data) for data in FILES.values() if len(data) >= 4 * MIB)
    assert (done["copied_bytes"], done["sent_bytes"]) == (large, SIZE - large)
    user.run("verify", f"{two}//sd15/any:v1", "--quiet")


def test_unpacked_it_is_a_directory_storage(layout_user: User) -> None:
    user, root = layout_user, layout_user.home / "root"
    write_files(user.home / "m", {"config.json": b"[]"})
    user.run("publish", "m", "here//sd15/any:v2", "--tag", "latest", "--quiet")
    root.mkdir()
    for layer in _layers(user.home / "images", "sd15/any:v2"):
        subprocess.run(["tar", "-x", "-f", str(layer), "-C", str(root)], check=True)
    assert [each["version"] for each in user.run("list", "./root/models", "--json").json["versions"]] == ["v2"]
    user.run("verify", "./root/models//sd15/any:v2", "--quiet")
    loaded = user.run("load", "./root/models//sd15/any:v2", "vae/model.safetensors", "--json").json
    assert loaded["tensors"] == 2
    files = {**FILES, "config.json": b"[]", "again.safetensors": FILES["unet/model.safetensors"]}
    assert files_below(root / "models/sd15/any/v2") == files
    # What the first version brought is not here twice.
    assert (root / "models/sd15/any/v2/unet/model.safetensors").readlink() == Path("../../v1/unet/model.safetensors")
    assert (root / "models/sd15/any/v2/again.safetensors").readlink() == Path("unet/model.safetensors")


def test_umoci_unpacks_it(layout_user: User) -> None:
    program("umoci")
    folder = layout_user.home / "unpacked"
    _run("umoci", "unpack", "--rootless", "--image", f"{_as_skopeo(layout_user)}:v1", str(folder))
    files = files_below(folder / "rootfs/models/sd15/any/v1")
    assert files == {**FILES, "again.safetensors": FILES["unet/model.safetensors"]}


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_recompressed_by_skopeo(layout_user: User, how: str) -> None:
    program("skopeo")
    user = layout_user
    _run(
        "skopeo", "copy", "--dest-compress", "--dest-compress-format", how, f"oci:{user.home}/images:sd15/any:v1",
        f"oci:{user.home}/packed:sd15/any:v1",
    )  # fmt: skip
    layers = _image(user.home / "packed", "sd15/any:v1")["layers"]
    assert {layer["mediaType"].rpartition("+")[2] for layer in layers} == {how}
    url = f"oci-layout://{user.home}/packed"
    (listed,) = user.run("list", url, "--json").json["versions"]
    assert (listed["version"], listed["problem"]) == ("v1", None)
    user.run("verify", f"{url}//sd15/any:v1", "--quiet")
    user.run("pull", f"{url}//sd15/any:v1", "out", "--quiet")
    assert files_below(user.home / "out") == {**FILES, "again.safetensors": FILES["unet/model.safetensors"]}
    # And a new version keeps the layers as they are.
    write_files(user.home / "m", {"config.json": b"[]"})
    user.run("publish", "m", f"{url}//sd15/any:v2", "--quiet")
    user.run("verify", f"{url}//sd15/any:v2", "--quiet")
    ends = [layer["mediaType"].rpartition("+")[2] for layer in _image(user.home / "packed", "sd15/any:v2")["layers"]]
    assert ends.count(how) == 2


def test_an_archive_by_skopeo(layout_user: User) -> None:
    program("skopeo")
    user = layout_user
    _run(
        "skopeo",
        "copy",
        "--preserve-digests",
        f"oci:{user.home}/images:sd15/any:v1",
        f"oci-archive:{user.home}/a.tar:v1",
    )
    for address in (f"oci-archive://{user.home}/a.tar", f"oci-archive://{user.home}/a.tar:v1"):
        assert len(user.run("list", address, "--json").json["versions"]) == 1
        user.run("verify", f"{address}//sd15/any:v1", "--quiet")
        assert user.refused("publish", "m", f"{address}//sd15/any:v2", "--quiet").code == 6


def test_kills(user: User) -> None:
    """No tag ever names what is not whole, and the same publish ends what was killed."""
    write_files(user.home / "m", FILES)
    seconds = user.run("publish", "m", "here//whole:v1", "--quiet").seconds
    killed = 0
    for number in range(4 * KILLS):
        where = f"here//m/one:v{number}"
        # Other bytes each time, so that no layer is there already.
        write_files(user.home / "m", {"vae.bin": noise(5 * MIB, number)})
        ended = user.tries("publish", "m", where, "--quiet", kill=seconds * (number % KILLS + 0.5) / KILLS)
        killed += ended.killed
        listed = user.run("list", "here", "m/one", "--json").json["versions"]
        assert not [each for each in listed if each["problem"]]
        if f"v{number}" in [each["version"] for each in listed]:
            user.run("verify", where, "--quiet")
        else:
            assert ended.killed
            assert user.refused("verify", where).code == 3
        if number % 3 == 0:
            user.run("publish", "m", where, "--quiet")
            user.run("verify", where, "--quiet")
        if killed == KILLS:
            break
    assert killed == KILLS


def test_a_registry_that_deletes_nothing(zygote: Zygote, tmp_path: Path) -> None:
    program("docker-registry")
    write_files(tmp_path / "m", {"config.json": b"{}"})
    with DockerRegistry(deletes=False) as server:
        user = User(zygote, tmp_path, {"HOIST_STORAGE_HERE_URL": f"oci://{server.host}/models"})
        user.run("publish", "m", "here//one:v1", "--quiet")
        refused = user.refused("remove", "here//one:v1", "--yes")
        assert refused.code == 6
        assert "REGISTRY_STORAGE_DELETE_ENABLED" in refused.error
        user.run("verify", "here//one:v1", "--quiet")
        # It was never more than one image.
        answer = urlopen(Request(f"{server.endpoint}/v2/models/one/tags/list"), timeout=10)
        assert json.load(answer)["tags"] == ["v1"]


def _image(folder: Path, name: str) -> dict[str, list[dict[str, str]]]:
    index = json.loads((folder / "index.json").read_text())
    for each in index["manifests"]:
        if each["annotations"]["org.opencontainers.image.ref.name"] == name:
            found = json.loads((folder / "blobs/sha256" / each["digest"][7:]).read_text())
            assert isinstance(found, dict)
            return found
    raise AssertionError(name)


def _layers(folder: Path, name: str) -> list[Path]:
    return [folder / "blobs/sha256" / layer["digest"][7:] for layer in _image(folder, name)["layers"]]


def _as_skopeo(user: User) -> Path:
    """A copy of the layout under a name that umoci takes."""
    program("skopeo")
    target = user.home / "plain"
    _run("skopeo", "copy", "--preserve-digests", f"oci:{user.home}/images:sd15/any:v1", f"oci:{target}:v1")
    return target


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
