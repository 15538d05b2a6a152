"""hoist image as a user runs it: what it prints, its JSON, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_commands import Shell, directory_shell

from makers import noise, write_files
from zygote import Zygote

MIB = 1 << 20
COMMANDS = ("build", "update", "plan", "copy")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> Shell:
    """A user with two versions of a model in the storage `here`."""
    home = tmp_path_factory.mktemp("home")
    made = directory_shell(home, zygote)
    files = {"unet.bin": noise(5 * MIB), "vae.bin": noise(4 * MIB, 1), "config.json": b"{}"}
    write_files(home / "v5", files)
    write_files(home / "v6", files | {"vae.bin": noise(4 * MIB, 2)})
    for label in ("v5", "v6"):
        made.run("publish", f"./{label}", f"here//sd15/any:{label}", "-q")
    return made


def layout(shell: Shell, name: str) -> str:
    return f"oci-layout://{shell.home}/{name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(shell: Shell, command: str) -> None:
    shown = shell.run("image", command, "--help").out
    assert f"  hoist image {command} " in shown.partition("examples:")[2]


def test_build_update_copy(shell: Shell) -> None:
    target = layout(shell, "images:app:v5")
    built = shell.run(
        "image", "build", "--model", "here//sd15/any:v5", "--tag", target, "-q", "--json",
        "--entrypoint", '["/bin/app"]', "--env", "A=1", "--label", "k=v", "--workdir", "/models", "--user", "7",
    ).json  # fmt: skip
    assert built["versions"] == ["sd15/any:v5"]
    assert built["sent_bytes"] > 9 * MIB
    again = shell.run("image", "build", "--model", "here//sd15/any:v5", "--tag", target, "-q").out
    assert "9.0 MiB there already" in again
    changed = shell.run("image", "update", target, "--model", "here//sd15/any:v6", "--tag", "v6", "-q")
    assert "holds sd15/any:v6 for sd15/any:v5" in changed.out
    assert "4.0 MiB sent" in changed.out
    copied = shell.run("image", "copy", target.replace(":v5", ":v6"), layout(shell, "far:their/app:v6"), "-q", "--json")
    assert copied.json["sent_bytes"] > 9 * MIB
    assert shell.run("image", "copy", target.replace(":v5", ":v6"), layout(shell, "far:v6"), "-q").out.startswith(
        "copied "
    )


def test_plan_of_each_kind(shell: Shell) -> None:
    target = layout(shell, "planned:app:v5")
    alone = shell.run("image", "plan", "here//sd15/any:v5")
    assert "unet.bin" in alone.out
    assert "Function Compute GPU" in alone.out
    assert "fits" in alone.out
    found = shell.run("image", "plan", "--model", "here//sd15/any:v5", "--tag", target, "--json").json
    assert found["layer_count"] == 4
    assert found["send_bytes"] > 9 * MIB
    assert {each["name"] for each in found["limits"]} >= {"AWS Lambda", "overlayfs"}
    assert all(each["source"] for each in found["limits"])
    shell.run("image", "build", "--model", "here//sd15/any:v5", "--tag", target, "-q")
    updated = shell.run("image", "plan", target, "--model", "here//sd15/any:v6", "--json").json
    assert 4 * MIB < updated["send_bytes"] < 4.1 * MIB
    assert [each["state"] for each in updated["layers"]].count("kept") == 2


def test_what_is_refused(shell: Shell) -> None:
    target = layout(shell, "refused:v5")
    refused = shell.fails("image", "build", "--model", "here//sd15/any:v9", "--tag", target)
    assert refused.code == 3
    assert "sd15/any" in refused.error
    assert shell.fails("image", "build", "--model", "here//sd15/any:v5", "--tag", "UPPER").code == 2
    assert shell.fails("image", "build", "--model", "here//sd15/any:v5", "--tag", target, "--env", "A").code == 2
    assert shell.fails("image", "plan").code == 2
    assert shell.fails("image", "plan", target).code == 2
    assert shell.fails("image", "update", target, "--model", "here//sd15/any:v5").code == 3
    assert "hoist: error:" in shell.fails("image", "copy", target, layout(shell, "far:v9")).error
    assert not (shell.home / "refused").exists()


def test_a_stale_signature_is_a_warning(shell: Shell) -> None:
    target = layout(shell, "signed:app:v5")
    digest = shell.run("image", "build", "--model", "here//sd15/any:v5", "--tag", target, "-q", "--json").json["digest"]
    index = Path(shell.home / "signed/index.json")
    document = json.loads(index.read_bytes())
    signature = json.loads(json.dumps(document["manifests"][0]))
    name = f"app:{digest.replace(':', '-')}.sig"
    signature["annotations"]["org.opencontainers.image.ref.name"] = name
    document["manifests"].append(signature)
    index.write_text(json.dumps(document))
    done = shell.run("image", "update", target, "--model", "here//sd15/any:v6", "-q", "--json")
    assert "warning:" in done.error
    assert "sign " in done.error
    assert done.json["stale"] == [f"{digest.replace(':', '-')}.sig (sig)"]
