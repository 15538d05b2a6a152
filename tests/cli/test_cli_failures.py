"""What goes wrong is one line with a mend, and an exit code by its branch of the error tree."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest
from cli_commands import (
    Shell,
    SlowNetwork,
    bucket_shell,
    directory_shell,
    write_hostile_checkpoint,
    write_safetensors,
)

from hoist.testing.servers import RcloneServer
from zygote import Zygote

MIB = 1 << 20


@pytest.fixture
def shell(tmp_path: Path, zygote: Zygote) -> Shell:
    """A directory storage with one version."""
    shell = directory_shell(tmp_path, zygote)
    write_safetensors(tmp_path / "model.safetensors", {"a": 3_000_000, "b": 1_000_000})
    shell.run("publish", "model.safetensors", "here//sd15/one:v1")
    return shell


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("list", "ther"), 3, "hoist.toml has here"),
        (("verify", "here//sd15/one:v2"), 3, "sd15/one has v1"),
        (("inspect", "here//sd15/on:v1"), 3, "did you mean sd15/one?"),
        (("inspect", "here/sd15/one:v1"), 2, "write STORAGE//NAME:VERSION"),
        (("inspect", "here//SD15/one:v1"), 2, "did you mean 'sd15/one'?"),
        (("load", "here//sd15/one:v1", "w.safetensors"), 3, "it has model.safetensors"),
        (("load", "here//sd15/one:v1", "--device", "abacus"), 2, "not a device"),
        (("load", "nothing.safetensors"), 3, "there is no file"),
        (("publish", "nothing", "here//sd15/two:v1"), 3, "nothing to publish"),
        (("publish", "model.safetensors", "here//sd15/one"), 2, "--tag latest"),
        (("remove", "here//sd15/one:v1"), 2, "add --yes"),
        (("tag", "here//sd15/one:v1", "-bad"), 2, "hoist tag --help"),
        (("publsh", "x", "y"), 2, "did you mean publish?"),
        (("bench",), 2, "COMMAND"),
        (("list", "here", "--jso"), 2, "unrecognized arguments"),
        (("list", "--signed-by", "release.pub"), 2, "name one, as hoist list nas"),
        (("list", "s3://id:very-secret@bucket/p"), 2, "storage 's3://***@bucket/p'"),
        (("list", "oci://id:very-secret@host/p"), 2, "storage 'oci://***@host/p'"),
        (("list", "https://id:very-secret@host/p"), 2, "storage 'https://***@host/p'"),
        (("verify", "s3://id:very-secret@bucket/p"), 2, "'s3://***@bucket/p' is not a location"),
        (("list", "./model.safetensors"), 3, "model.safetensors is a file: name the directory"),
        (("verify", "here//sd15/one:v1", "--signed-by", "me@example.com"), 2, "IDENTITY@ISSUER"),
        (("verify", "here//sd15/one:v1", "--signed-by", "no.pub"), 2, "name a file in PEM"),
        (("rollout", "sd15/one:v1", "--tag", "t", "--regions", "here", "--wait", "soon"), 2, "--wait: 'soon' is not"),
        (("sync", "./none.toml"), 2, "name a .toml file that has a plan"),
        (("sync", "./none"), 2, "ends in .toml"),
        (("status", "here", "--metrics-of", "nas=http://h/"), 2, "name it among the storages"),
    ],
)
def test_a_mistake_has_its_exit_code_and_its_mend(shell: Shell, words: tuple[str, ...], code: int, said: str) -> None:
    done = shell.fails(*words)
    assert (done.code, done.out) == (code, "")
    assert done.error.startswith("hoist: error: ")
    assert said in done.error
    assert "very-secret" not in done.error


def test_another_content_under_the_same_label_is_a_conflict(shell: Shell) -> None:
    write_safetensors(shell.home / "other.safetensors", {"a": 10})
    assert shell.fails("publish", "other.safetensors", "here//sd15/one:v1").code == 4


def test_a_flipped_byte_at_rest_is_found_by_verify_and_by_load(shell: Shell) -> None:
    path = shell.home / "storage" / "sd15" / "one" / "v1" / "model.safetensors"
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(9 * MIB)
        byte = file.read(1)
        file.seek(9 * MIB)
        file.write(bytes([byte[0] ^ 1]))
    found = shell.fails("verify", "here//sd15/one:v1", "--json")
    (damaged,) = found.json["damaged"]
    assert found.code == 7
    assert damaged["path"] == "model.safetensors"
    assert damaged["begin"] <= 9 * MIB < damaged["end"]
    shown = shell.fails("verify", "here//sd15/one:v1")
    assert shown.code == 7
    assert str(damaged["begin"]) in shown.out
    loaded = shell.fails("load", "here//sd15/one:v1")
    assert (loaded.code, loaded.out) == (7, "")
    assert "damaged at bytes" in loaded.error
    assert shell.fails("pull", "here//sd15/one:v1", "out").code == 7


def test_a_missing_file_is_damage_too(shell: Shell) -> None:
    (shell.home / "storage" / "sd15" / "one" / "v1" / "model.safetensors").unlink()
    found = shell.fails("verify", "here//sd15/one:v1", "--json")
    assert (found.code, found.json["damaged"][0]["missing"]) == (7, True)


def test_a_truncated_file_is_not_published_and_not_loaded(shell: Shell) -> None:
    whole = (shell.home / "model.safetensors").read_bytes()
    (shell.home / "short.safetensors").write_bytes(whole[:-100])
    refused = shell.fails("publish", "short.safetensors", "here//sd15/short:v1")
    assert (refused.code, "--unchecked" in refused.error) == (8, True)
    shell.run("publish", "short.safetensors", "here//sd15/short:v1", "--unchecked")
    for place in ("here//sd15/short:v1", "short.safetensors"):
        assert shell.fails("load", place).code == 8
    (file,) = shell.json("inspect", "here//sd15/short:v1")["files"]
    assert file["problem"]


def test_a_hostile_checkpoint_is_refused_and_does_not_run(shell: Shell) -> None:
    write_hostile_checkpoint(shell.home / "evil.ckpt", shell.home / "ran")
    shell.run("publish", "evil.ckpt", "here//evil:v1")
    for place in ("here//evil:v1", "evil.ckpt"):
        assert shell.fails("load", place).code == 8
    assert "cannot be loaded" in shell.run("inspect", "here//evil:v1").out
    assert not (shell.home / "ran").exists()


def test_a_name_cannot_command_the_terminal(shell: Shell) -> None:
    write_safetensors(shell.home / "m.safetensors", {"\x1b]0;owned\x07": 1})
    shell.run("publish", "m.safetensors", "here//odd:v1")
    shown = shell.run("inspect", "here//odd:v1", "--tensors").out
    assert "\x1b" not in shown
    assert "owned" in shown


def test_a_wrong_secret_is_no_permission(tmp_path: Path, rclone_server: RcloneServer, zygote: Zygote) -> None:
    shell = bucket_shell(tmp_path, rclone_server, zygote)
    done = shell.with_env(AWS_SECRET_ACCESS_KEY="wrong-and-hidden").fails("list", "here")
    assert done.code == 5
    assert "wrong-and-hidden" not in done.error


def test_a_store_that_is_down_is_unavailable(tmp_path: Path, rclone_server: RcloneServer, zygote: Zygote) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    shell = bucket_shell(tmp_path, rclone_server, zygote, f"http://127.0.0.1:{port}")
    done = shell.fails("list", "here", HOIST_RETRY_SECONDS="1")
    assert (done.code, done.out) == (6, "")


def test_an_unexpected_error_is_one_line(shell: Shell) -> None:
    (shell.home / "sitecustomize.py").write_text(
        "import hoist.verbs\ndef wrong(*a, **k):\n    raise RuntimeError('surprise')\nhoist.verbs.list = wrong\n"
    )
    path = f"{shell.home}:{Path(__file__).parents[2] / 'src'}"
    done = shell.alone().fails("list", "here", PYTHONPATH=path)
    assert done.code == 70
    assert done.error == (
        "hoist: internal error: RuntimeError: surprise: please report; HOIST_DEBUG=1 shows the traceback\n"
    )
    process = shell.start("list", "here", PYTHONPATH=path, HOIST_DEBUG="1")
    assert "Traceback" in process.communicate(timeout=60)[1]


def test_a_reader_that_goes_is_no_error(shell: Shell) -> None:
    process = shell.start("inspect", "here//sd15/one:v1", "--tensors")
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141
    process.stderr.close()


def _cancel(shell: Shell, network: SlowNetwork, after: int, *words: str) -> None:
    """Run a command, press Ctrl-C after so many bytes, and see it end soon."""
    process = shell.start(*words)
    network.wait_until_moved(network.moved + after)
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    done = shell.finish(process)
    assert time.monotonic() - pressed < 10
    assert done.code == 130
    assert done.error.endswith("hoist: cancelled; run it again to resume\n")


def test_ctrl_c_and_running_it_again(tmp_path: Path, rclone_server: RcloneServer, zygote: Zygote) -> None:
    for number in range(4):
        write_safetensors(tmp_path / "m" / f"{number}.safetensors", {f"t{number}": 2_000_000}, seed=number)
    with SlowNetwork(rclone_server.endpoint, 6 * MIB) as network:
        shell = bucket_shell(tmp_path, rclone_server, zygote, network.endpoint)
        _cancel(shell, network, 6 * MIB, "publish", "m", "here//m:v1")
        assert shell.json("list", "here")["versions"] == []
        network.rate = None
        assert shell.json("publish", "m", "here//m:v1")["files"] == 4
        network.rate = 6 * MIB
        _cancel(shell, network, 15 * MIB, "pull", "here//m:v1", "out")
        network.rate = None
        done = shell.json("pull", "here//m:v1", "out")
        assert done["kept_bytes"] > 0
        for path in (tmp_path / "m").iterdir():
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_ctrl_c_while_a_store_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "very-secret"}
        shell = Shell(tmp_path, env, ("very-secret",))
        process = shell.start("list", "s3://b", HOIST_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
        silent.settimeout(30)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        done = shell.finish(process)
        connection.close()
    assert (done.code, done.error) == (130, "hoist: cancelled\n")
