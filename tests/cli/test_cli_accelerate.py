"""`hoist accelerate` as a user runs it: the configuration shown, refusals, serving until SIGTERM, metrics."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path

import pytest
from cli_commands import Shell

from conftest import require
from hoist.accelerator.live import LiveAccelerator, live_accelerators
from hoist.testing.servers import FaultServer, FolderOrigin, NginxServer
from hoist.testing.servers.ports import free_port


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    require(NginxServer)
    (tmp_path / "home").mkdir()
    return Shell(tmp_path / "home", {"HOIST_STORAGE_OSS_URL": "s3://models/in", "HOIST_STORAGE_OSS_ANONYMOUS": "true"})


def test_the_configuration_is_shown(shell: Shell) -> None:
    done = shell.run("accelerate", "--origin", "oss", "--print-config", "--check-seconds", "7", "--size", "1GiB")
    assert done.code == 0, done.error
    assert "proxy_ssl_verify on;" in done.out and "max_size=1073741824" in done.out
    assert "206 7s;" in done.out and r"~^(?<sent>/models/in/[^?]+)" in done.out
    # A look takes nothing and leaves nothing.
    assert not (shell.home / ".cache").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--origin", "/srv"), "object store"),
        (("--origin", "none"), "no storage is named"),
        (("--origin", "oss", "--listen", "8080"), "HOST:PORT"),
        (("--origin", "oss", "--size", "much"), "not a size"),
        (("--origin", "oss", "--check-seconds", "-1"), "0 to 3600"),
        (("--origin", "oss", "--tls-key", "x"), "--tls-cert"),
        (("--origin", "oss", "--tls-cert", "none.pem"), "none.pem is no file"),
    ],
)
def test_what_it_refuses(shell: Shell, words: tuple[str, ...], said: str) -> None:
    done = shell.fails("accelerate", *words, "--print-config")
    assert done.code in (2, 3) and said in done.error


def test_it_serves_until_it_is_told_to_end(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "models" / "in").mkdir(parents=True)
    (tmp_path / "models" / "in" / "key").write_bytes(data := os.urandom(10_000))
    listen = f"127.0.0.1:{free_port()}"
    with FaultServer(FolderOrigin(tmp_path)) as origin:
        process = shell.start(
            *("accelerate", "--origin", "oss", "--listen", listen, "--metrics", "0"),
            HOIST_STORAGE_OSS_ENDPOINT=origin.endpoint,
            XDG_RUNTIME_DIR=str(tmp_path),
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert f"accelerating oss at http://{listen}" in line
            found = re.search(r"metrics at (\S+)", line)
            assert found
            # By this `hoist status` finds it.
            noted = [LiveAccelerator(listen, int(found[1].rpartition(":")[2].partition("/")[0]))]
            assert live_accelerators(tmp_path / "hoist") == noted
            asked = urllib.request.Request(f"http://{listen}/models/in/key", headers={"Host": origin.endpoint[7:]})
            with urllib.request.urlopen(asked, timeout=20) as answer:
                assert answer.read() == data
            with urllib.request.urlopen(found[1], timeout=20) as answer:
                assert b"hoist_accelerator_start_time_seconds" in answer.read()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            process.communicate()
    assert live_accelerators(tmp_path / "hoist") == []


def test_nginx_ends_with_it_however_it_ends(shell: Shell) -> None:
    port = free_port()
    process = shell.start(
        *("accelerate", "--origin", "oss", "--listen", f"127.0.0.1:{port}"),
        HOIST_STORAGE_OSS_ENDPOINT="http://127.0.0.1:1",
    )
    assert process.stdout is not None and "accelerating" in process.stdout.readline()
    with socket.create_connection(("127.0.0.1", port), 5):
        process.kill()
        process.communicate()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("nginx outlived the process that watched it")
