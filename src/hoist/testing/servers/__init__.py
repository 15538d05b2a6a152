"""Real local servers for tests and benchmarks: started on free loopback ports, gone with the `with` block.

with RcloneServer() as server:
    server.create_bucket("models")
    store = server.open_store("models")

`FaultServer` stands before one of them and goes wrong by plan; `fault_kinds` has what can go wrong.
"""

from __future__ import annotations

from hoist.testing.servers.base import Answer, LocalServer, S3Server, Traits
from hoist.testing.servers.docker_registry import DockerRegistry
from hoist.testing.servers.faults import FaultServer, Rule
from hoist.testing.servers.ganesha import GaneshaServer
from hoist.testing.servers.moto import MotoServer
from hoist.testing.servers.nginx import NginxBucket, NginxServer
from hoist.testing.servers.origins import FolderOrigin, ServerOrigin
from hoist.testing.servers.radosgw import RadosgwServer
from hoist.testing.servers.rclone import RcloneServer

SERVERS: dict[str, type[S3Server]] = {
    "rclone": RcloneServer,
    "radosgw": RadosgwServer,
    "moto": MotoServer,
}
"""The servers that can be written to, by name. NginxServer stands apart: it only reads; so do DockerRegistry and
GaneshaServer: they are no object stores."""

__all__ = [
    "SERVERS",
    "Answer",
    "DockerRegistry",
    "FaultServer",
    "FolderOrigin",
    "GaneshaServer",
    "LocalServer",
    "MotoServer",
    "NginxBucket",
    "NginxServer",
    "RadosgwServer",
    "RcloneServer",
    "Rule",
    "S3Server",
    "ServerOrigin",
    "Traits",
]
