"""The registry starts, answers as one, keeps its data, and leaves no process."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from conftest import require
from hoist.errors import LocalError
from hoist.testing.servers import DockerRegistry
from hoist.testing.servers.docker_registry import PASSWORD, USER

EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_serves_the_api_and_ends(tmp_path: Path) -> None:
    require(DockerRegistry)
    for present in (False, True):
        with DockerRegistry(tmp_path / "data") as server:
            answer = server.request("GET", "/v2/")
            assert (answer.status, answer.body) == (200, b"{}")
            assert server.endpoint == f"http://{server.host}"
            # What an earlier one has stored below a given folder is there.
            assert server.request("HEAD", f"/v2/a/b/blobs/{EMPTY}").status == (200 if present else 404)
            begun = server.request("POST", "/v2/a/b/blobs/uploads/")
            place = begun.headers["location"].removeprefix(server.endpoint)
            assert server.request("PUT", f"{place}&digest={EMPTY}", body=b"{}").status == 201
            pids = server.pids
            assert len(pids) == 2
        assert server.pids == ()
        with pytest.raises(LocalError, match="not started"):
            _ = server.endpoint
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_asks_for_a_login_and_refuses_deletion_where_told(tmp_path: Path) -> None:
    require(DockerRegistry)
    with DockerRegistry(login=True, deletes=False) as server:
        refused = server.request("GET", "/v2/")
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        login = {"Authorization": "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        assert server.request("GET", "/v2/", login).status == 200
        assert server.request("DELETE", f"/v2/a/b/manifests/{EMPTY}", login).status == 405
