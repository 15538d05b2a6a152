"""Ranges over TLS: another way of receiving, the same bytes."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from range_server import DATA, Server

from hoist.errors import StorageUnavailable
from hoist.storage.ranges import RangeClient

CERTIFICATE = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A TLS server, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    names = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(folder / "key"),
        "-out",
        str(folder / "certificate"),
    ]
    subprocess.run([*CERTIFICATE, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    server = Server()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with server.serving():
        yield server, folder / "certificate"


def test_right_bytes_over_tls(secured: tuple[Server, Path]) -> None:
    server, certificate = secured
    client = RangeClient(str(certificate), read_seconds=5)
    before = server.connections
    for manner in ("partial", "said-200", "chunked-part", "partial"):
        for begin, end in ((0, 1), (5, 20_000), (1000, len(DATA))):
            buffer = bytearray(end - begin)
            client.read_into(server.url(manner).replace("http:", "https:"), begin, memoryview(buffer), "the object")
            assert buffer == DATA[begin:end]
    assert server.connections == before + 1
    for manner in ("short", "reset"):
        with pytest.raises(StorageUnavailable):
            client.read_into(
                server.url(manner).replace("http:", "https:"), 0, memoryview(bytearray(500_000)), "the object"
            )
    client.close()


def test_stuck_body_goes_on_elsewhere_over_tls(secured: tuple[Server, Path]) -> None:
    server, certificate = secured
    client = RangeClient(str(certificate), read_seconds=5)
    buffer = bytearray(500_000)
    client.read_into(server.url("stalled/then/partial").replace("http:", "https:"), 0, memoryview(buffer), "the object")
    assert buffer == DATA[:500_000]
    client.close()


def test_unknown_certificate_is_refused(secured: tuple[Server, Path]) -> None:
    client = RangeClient(read_seconds=5)
    with pytest.raises(StorageUnavailable, match=r"(?i)certificate"):
        url = secured[0].url("partial").replace("http:", "https:")
        client.read_into(url, 0, memoryview(bytearray(5)), "the object")
