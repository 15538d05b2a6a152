"""An upload whose process is killed: the next one goes on where the registry has come to, or begins anew; never wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from registry_fixtures import BIG, OpenRegistry, chunks_of, digest_of, stream

from hoist.testing.servers import DockerRegistry, FaultServer, Rule, ServerOrigin
from hoist.testing.servers.fault_kinds import Stalled

pytest_plugins = ["registry_fixtures"]
_SENDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from registry_fixtures import BIG, chunks_of, digest_of, ignore
from hoist.storage.oci.registry import Registry
registry = Registry(sys.argv[2], "host", "oci://host", uploads=Path(sys.argv[4]), chunk_bytes=4 << 20)
registry.put_blob(sys.argv[3], None, len(BIG), chunks_of(BIG), ignore, "content")
"""


def send_and_kill(sick: FaultServer, repository: str, uploads: Path, ready: Callable[[], bool]) -> None:
    """Send in a process that is killed when it is `ready`."""
    command = [sys.executable, "-c", _SENDER, str(Path(__file__).parent), sick.endpoint, repository, str(uploads)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        until = time.monotonic() + 60
        while not ready() and time.monotonic() < until:
            time.sleep(0.01)
        assert process.poll() is None
        process.kill()


def test_goes_on_where_it_was_killed(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str, tmp_path: Path
) -> None:
    # What stands before the registry passes on whole chunks only, as nginx does unless told otherwise.
    with FaultServer(ServerOrigin(docker_registry.endpoint)) as sick:
        for chunks in (1, 3):
            name = f"{repository}/{chunks}"
            sick.plan(Rule(Stalled("before"), method="PATCH", first=chunks, count=1))
            ready = partial(lambda chunks: sum(seen.method == "PATCH" for seen in sick.seen) > chunks, chunks)
            send_and_kill(sick, name, tmp_path / "uploads", ready)
            sick.plan()
            told: list[int] = []
            registry = open_registry_at(sick.endpoint)
            found = registry.put_blob(name, None, len(BIG), chunks_of(BIG), told.append, "content")
            assert found == digest_of(BIG)
            assert sum(told) == len(BIG) - chunks * (4 << 20)
            assert not any(seen.method == "POST" for seen in sick.seen)
            assert stream(registry, name, found, len(BIG)) == BIG


def test_a_registry_that_has_more_than_it_has_answered_gets_the_blob_anew(
    docker_registry: DockerRegistry, open_registry_at: OpenRegistry, repository: str, tmp_path: Path
) -> None:
    # docker-registry 2.8 cannot go on then: an upload's URL holds how far it was.
    uploads = docker_registry.data_folder / "docker/registry/v2/repositories" / repository / "_uploads"

    def ready() -> bool:
        return any(file.stat().st_size >= 12 << 20 for file in uploads.glob("*/data"))

    with FaultServer(ServerOrigin(docker_registry.endpoint)) as sick:
        sick.plan(Rule(Stalled("after"), method="PATCH", first=2, count=1))
        send_and_kill(sick, repository, tmp_path / "uploads", ready)
        sick.plan()
        told: list[int] = []
        registry = open_registry_at(sick.endpoint)
        found = registry.put_blob(repository, None, len(BIG), chunks_of(BIG), told.append, "content")
        assert (found, sum(told)) == (digest_of(BIG), len(BIG))
        assert sum(seen.method == "POST" for seen in sick.seen) == 1
        assert stream(registry, repository, found, len(BIG)) == BIG
