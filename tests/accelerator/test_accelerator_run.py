"""An accelerator's life: TLS on both sides, a second one on one folder, a port that is taken."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from threading import Event, Thread

import pytest
from accelerator_fixtures import Accelerate

from hoist.accelerator.folders import CacheFolder
from hoist.accelerator.origin import Origin
from hoist.accelerator.run import Accelerator
from hoist.accelerator.settings import Settings
from hoist.errors import LocalError
from hoist.storage.accelerated import Accelerated
from hoist.storage.ranges import RangeClient
from hoist.testing.servers import FaultServer, FolderOrigin
from hoist.testing.servers.ports import free_port
from makers import wait_for

pytest_plugins = ["accelerator_fixtures"]


def test_one_folder_is_one_accelerators(tmp_path: Path) -> None:
    held = CacheFolder(tmp_path / "cache")
    settings = Settings(Origin("x", "http", "127.0.0.1:1", "/b/"), f"127.0.0.1:{free_port()}", held.path, 1 << 30)
    with pytest.raises(LocalError, match="another accelerator uses"), Accelerator(settings):
        pass
    held.close()
    with Accelerator(settings) as running:
        assert running.pid


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings(Origin("x", "http", "127.0.0.1:1", "/b/"), listen, tmp_path / "cache", 1 << 30)
        with pytest.raises(LocalError, match="Address already in use"), Accelerator(settings):
            pass


def test_an_origin_that_nobody_knows(tmp_path: Path) -> None:
    origin = Origin("x", "http", "no-such-host.invalid", "/b/")
    settings = Settings(origin, f"127.0.0.1:{free_port()}", tmp_path / "cache", 1 << 30)
    with pytest.raises(LocalError, match=r"no-such-host\.invalid is not found"), Accelerator(settings):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key in the same file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{path}.key", "-out", f"{path}.crt"]
    subprocess.run(["openssl", "req", *words, *names], check=True, capture_output=True)
    path.write_text(Path(f"{path}.key").read_text() + Path(f"{path}.crt").read_text())
    return path


def test_tls_to_the_origin_and_to_clients(tmp_path: Path, certificate: Path, accelerate: Accelerate) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "key").write_bytes(data := os.urandom(100_000))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    origin = FaultServer(FolderOrigin(tmp_path))
    origin._server.socket = context.wrap_socket(origin._server.socket, server_side=True)
    with origin:
        base = origin.endpoint.replace("http:", "https:")
        running = accelerate(f"{base}/bucket", ca_bundle=str(certificate), certificate=certificate)
        direct = RangeClient()
        client = Accelerated([running.url.replace("http:", "https:")], direct, str(certificate))
        buffer = bytearray(1000)
        # The origin itself is not trusted by this client: what comes, comes through the accelerator.
        client.read_into(f"{base}/bucket/key", 500, memoryview(buffer), "the key")
        assert buffer == data[500:1500]
        client.close()
        direct.close()
        # Whom nobody vouches for is given no request.
        wary = accelerate(f"{base}/bucket")
        before = len(origin.seen)
        assert wary.ask(f"{base}/bucket/key")[0] == 502
        assert len(origin.seen) == before
        # Its log comes a moment after its answer.
        wait_for(lambda: any("certificate verify" in line or "SSL" in line for line in wary.said))


def test_told_to_read_its_files_anew(tmp_path: Path) -> None:
    settings = Settings(Origin("x", "http", "127.0.0.1:1", "/b/"), f"127.0.0.1:{free_port()}", tmp_path / "c", 1 << 30)
    said: list[str] = []
    stop, reload = Event(), Event()
    with Accelerator(settings, said.append) as running:
        thread = Thread(target=running.watch, args=(stop, reload))
        thread.start()
        reload.set()
        until = time.monotonic() + 10
        while reload.is_set() and time.monotonic() < until:
            time.sleep(0.01)
        pid = running.pid
        os.kill(pid, signal.SIGTERM)
        while running.metrics.values()["restarts_total"] < 1 and time.monotonic() < until:
            time.sleep(0.01)
        stop.set()
        thread.join()
        assert running.pid != pid
    assert any("reloaded" in line for line in said)
    assert any("it is started again" in line for line in said)
