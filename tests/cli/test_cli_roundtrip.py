"""A version's whole life by commands, on a directory and on a bucket; and the JSON that scripts read."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_commands import Shell, bucket_shell, directory_shell, write_safetensors

from zygote import Zygote

SIZES = {"model.a": 3_000_000, "model.b": 1_000, "vae.c": 500_000}
MANIFEST_FIELDS = {"location", "name", "version", "digest", "tags", "files", "size_bytes"}


@pytest.fixture(params=["directory", "rclone"])
def shell(request: pytest.FixtureRequest, tmp_path: Path, zygote: Zygote) -> Shell:
    if request.param == "directory":
        return directory_shell(tmp_path, zygote)
    return bucket_shell(tmp_path, request.getfixturevalue("rclone_server"), zygote)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_safetensors(tmp_path / "model.safetensors", SIZES)


def test_whole_life_of_a_version(shell: Shell, model: Path) -> None:
    shell = shell.alone()
    size = model.stat().st_size
    done = shell.json("publish", "model.safetensors", "here//sd15/one:v1", "--tag", "stable")
    assert set(done) >= MANIFEST_FIELDS | {"sent_bytes", "seconds", "exclusive", "already"}
    assert (done["size_bytes"], done["sent_bytes"], done["tags"], done["already"]) == (size, size, ["stable"], False)
    assert shell.json("publish", "model.safetensors", "here//sd15/one:v1")["already"]

    (listed,) = shell.json("list", "here")["versions"]
    assert listed == {
        "name": "sd15/one",
        "version": "v1",
        "digest": done["digest"],
        "size_bytes": size,
        "files": 1,
        "tags": ["stable"],
        "signed_by": None,
        "problem": None,
    }
    found = shell.json("inspect", "here//sd15/one:stable", "--tensors")
    assert (found["version"], found["digest"], found["tags"]) == ("v1", done["digest"], ["stable"])
    (file,) = found["files"]
    assert (file["path"], file["format"], file["tensor_count"]) == ("model.safetensors", "safetensors", 3)
    assert {item["name"]: item["size_bytes"] // 4 for item in file["tensors"]} == SIZES

    checked = shell.json("verify", f"here//sd15/one@{done['digest']}")
    assert (checked["ok"], checked["damaged"], checked["read_bytes"]) == (True, [], size)
    assert shell.json("tag", "here//sd15/one:v1", "latest")["tag"] == "latest"

    pulled = shell.json("pull", "here//sd15/one", "out")
    assert (pulled["fetched_bytes"], pulled["kept_bytes"]) == (size, 0)
    assert (shell.home / "out" / "model.safetensors").read_bytes() == model.read_bytes()
    assert shell.json("pull", "here//sd15/one", "out")["kept_bytes"] == size

    assert shell.fails("rm", "here//sd15/one:v1", "--yes").code == 4
    assert shell.json("rm", "here//sd15/one:latest", "--yes") == {"removed": "tag", "name": "sd15/one", "tag": "latest"}
    assert shell.json("remove", "here//sd15/one:v1", "--yes", "--force")["removed"] == "version"
    assert shell.json("list", "here")["versions"] == []


def test_load_times_its_phases(shell: Shell, model: Path) -> None:
    shell = shell.alone()
    shell.run("publish", "model.safetensors", "here//one:v1")
    found = shell.json("load", "here//one:v1", "--repeat", "2")
    assert (found["tensors"], found["size_bytes"], found["verified"]) == (3, 4 * sum(SIZES.values()), True)
    assert found["files"] == ["model.safetensors"]
    assert found["peak_memory_bytes"] > found["size_bytes"]
    assert len(found["runs"]) == 2
    for run in found["runs"]:
        phases = [run[f"{name}_seconds"] for name in ("network", "fetch_verify", "transfer", "deserialize")]
        assert min(phases) >= 0
        assert sum(phases) == pytest.approx(run["seconds"], rel=0.05)
        assert run["read_bytes"] >= model.stat().st_size
        assert run["requests"] > 0


def test_load_of_a_part_and_of_a_cast(shell: Shell, model: Path) -> None:
    shell.run("publish", "model.safetensors", "here//one:v1")
    found = shell.json("load", "here//one:v1", "--prefix", "vae.", "--dtype", "float16")
    assert (found["tensors"], found["size_bytes"]) == (1, 2 * SIZES["vae.c"])


def test_load_of_a_checkpoint_in_a_version_and_on_the_disk(shell: Shell) -> None:
    import torch

    torch.save({"state_dict": {"a": torch.ones(1000, 10), "b": [torch.zeros(5)]}}, shell.home / "m.ckpt")
    shell.run("publish", "m.ckpt", "here//old:v1")
    for place in ("here//old:v1", "m.ckpt"):
        found = shell.json("load", place)
        assert (found["format"], found["tensors"], found["size_bytes"]) == ("checkpoint", 2, 40_020)
        assert found["verified"] is (place != "m.ckpt")
    assert shell.fails("load", "m.ckpt", "--prefix", "a").code == 2


def test_load_of_several_files_at_once(shell: Shell) -> None:
    for name in ("a", "b"):
        write_safetensors(shell.home / "m" / f"{name}.safetensors", {f"{name}.x": 1000, f"{name}.y": 20})
    write_safetensors(shell.home / "m" / "again.safetensors", {"a.x": 1000})
    shell.run("publish", "m", "here//many:v1")
    for place in ("here//many:v1", "m"):
        assert "name one of" in shell.fails("load", place).error
        found = shell.json("load", place, "a.safetensors", "b.safetensors")
        assert (found["files"], found["tensors"], found["size_bytes"]) == (["a.safetensors", "b.safetensors"], 4, 8160)
        twice = shell.fails("load", place, "a.safetensors", "again.safetensors")
        assert (twice.code, "'a.x' is in both" in twice.error) == (8, True)
    (shell.home / "one.ckpt").touch()
    assert shell.fails("load", ".", "one.ckpt", "m/a.safetensors").code == 2


def test_human_output_is_aligned_and_short(shell: Shell, model: Path) -> None:
    assert "published here//one:v1  sha256:" in shell.run("publish", "model.safetensors", "here//one:v1").out
    heading, row = shell.run("ls", "here").out.splitlines()
    assert heading.index("DIGEST") == row.index("sha256:")
    assert len(row.split()[-1]) == len("sha256:") + 12
    assert "13.4 MiB" in row
    assert "is whole" in shell.run("verify", "here//one:v1").out
    assert "PHASE" in shell.run("load", "here//one:v1").out


def test_shared_blocks_are_shown(shell: Shell) -> None:
    write_safetensors(shell.home / "a.safetensors", SIZES)
    shell.run("publish", "a.safetensors", "here//a:v1")
    shell.run("publish", "a.safetensors", "here//b:v1")
    (other,) = shell.json("inspect", "here//a:v1")["shared"]
    assert (other["name"], other["shared_bytes"]) == ("b", (shell.home / "a.safetensors").stat().st_size)
    assert shell.json("inspect", "here//a:v1", "--no-shared")["shared"] is None


def test_a_folder_with_patterns(shell: Shell) -> None:
    write_safetensors(shell.home / "m" / "unet" / "w.safetensors", {"w": 100})
    (shell.home / "m" / "README.md").write_text("words")
    (shell.home / "m" / "notes.txt").write_text("words")
    assert shell.json("publish", "m", "here//m:1", "--exclude", "*.txt")["files"] == 2
    assert shell.json("pull", "here//m:1", "out", "--include", "*.safetensors")["files"] == 1
    assert [path.name for path in (shell.home / "out").iterdir()] == ["unet"]


def test_a_race_is_warned_of_where_the_storage_cannot_exclude_it(shell: Shell, model: Path) -> None:
    done = shell.fails("publish", "model.safetensors", "here//one:v1", "--json")
    assert ("can race" in done.error) is not done.json["exclusive"]
    assert done.json["exclusive"] is ("AWS_ACCESS_KEY_ID" not in shell.env)


def test_progress_is_lines_in_a_log_and_quiet_is_quiet(shell: Shell, model: Path) -> None:
    shell.run("publish", "model.safetensors", "here//one:v1")
    assert "verifying one:v1: 13.4 MiB in" in shell.run("verify", "here//one:v1").error
    assert shell.run("verify", "here//one:v1", "-q").error == ""


def test_storages_are_listed_without_their_secrets(tmp_path: Path, zygote: Zygote) -> None:
    shell = Shell(tmp_path, zygote=zygote)
    assert "[storage.nas]" in shell.run("list").out
    assert shell.json("list") == {"storages": []}
    (tmp_path / "hoist.toml").write_text(
        '[storage.cloud]\nurl = "oss://bucket/x"\nregion = "cn-hangzhou"\n[storage.nas]\nurl = "models"\n'
    )
    heading, cloud, nas = shell.run("list").out.splitlines()
    assert heading.split() == ["NAME", "KIND", "URL", "REGION"]
    assert cloud.split() == ["cloud", "oss", "oss://bucket/x", "cn-hangzhou"]
    assert nas.split() == ["nas", "nas", str(tmp_path / "models"), "-"]
    shown = shell.with_env(HOIST_STORAGE_OPEN_URL="s3://user:hush@bucket").run("list").out
    assert "hush" not in shown
    near = shell.with_env(HOIST_STORAGE_CLOUD_ACCELERATOR="http://127.0.0.1:8080").run("list").out.splitlines()[1]
    assert near.split() == ["cloud", "accl", "oss://bucket/x", "cn-hangzhou"]


def test_fixtures_are_listed_and_built(tmp_path: Path, zygote: Zygote) -> None:
    shell = Shell(tmp_path, zygote=zygote)
    assert len(shell.json("bench", "fixtures", "--list")["fixtures"]) == 10
    done = shell.json("bench", "fixtures", "out", "--scale", "0.05", "--only", "anything-v5.0")
    (built,) = done["fixtures"]
    assert Path(tmp_path / built["path"]).stat().st_size == built["size_bytes"]
    assert shell.fails("bench", "fixtures").code == 2
    wrong = shell.fails("bench", "fixtures", "out", "--only", "anything-v5")
    assert (wrong.code, "did you mean anything-v5.0" in wrong.error) == (2, True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["Anything-v5.0-PRT-RE.safetensors"]
