"""Storages on this machine for a benchmark: a directory, a bucket on a real S3 server, a public bucket on nginx.

Everything lies in one temporary folder, and everything that is started is ended.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hoist.config import Config, load_config
from hoist.errors import LocalError

if TYPE_CHECKING:
    from hoist.testing.servers import NginxBucket, S3Server

BUCKET = "models"
DIRECTORY, S3, PUBLIC = "nas", "oss", "public"
# The S3 bucket again, below a prefix of its own: nothing that is published there is there already.
EMPTY = "empty"
STORAGES = (DIRECTORY, S3, PUBLIC)


@dataclass(frozen=True)
class Stage:
    """The storages that are up, by name in `config`; `publish_to` says where a version is put to appear in one.

    nginx takes no writes: what it serves is published into its folder, which is a directory storage.
    """

    home: Path
    config: Config
    storages: tuple[str, ...]
    server: str | None
    web: NginxBucket | None = None

    def publish_to(self, storage: str) -> str:
        """The address to publish to, so that `storage` has it."""
        return str(self.home / "www" / BUCKET) if storage == PUBLIC else storage


@contextmanager
def set_stage(
    wanted: Sequence[str] = STORAGES, *, folder: Path | None = None, server: str = "radosgw", size: int = 3 << 30
) -> Iterator[Stage]:
    """Start what `wanted` needs. `size` is how many bytes will be stored at most; `server` one of SERVERS.

    Raises LocalError where a server is not to be had.
    """
    with tempfile.TemporaryDirectory(prefix="hoist-stage-", dir=folder) as name, ExitStack() as stack:
        home = Path(name)
        lines, running, web = [], None, None
        if DIRECTORY in wanted:
            (home / "nas").mkdir()
            lines.append(f'[storage.{DIRECTORY}]\nurl = "{home / "nas"}"\n')
        if S3 in wanted:
            running = stack.enter_context(_server(server, home / "objects", size))
            running.create_bucket(BUCKET)
            lines += [bucket_table(S3, running, BUCKET), bucket_table(EMPTY, running, f"{BUCKET}/empty")]
        if PUBLIC in wanted:
            from hoist.testing.servers import NginxBucket

            web = stack.enter_context(NginxBucket(home / "www"))
            web.create_bucket(BUCKET)
            lines.append(bucket_table(PUBLIC, web, BUCKET) + "anonymous = true\n")
        config = isolated_config(home, "\n".join(lines), running)
        yield Stage(home, config, tuple(wanted), running.name if running else None, web)


def isolated_config(home: Path, text: str, server: S3Server | None) -> Config:
    """The configuration of a hoist.toml of that text, and an environment that leads only to it."""
    path = home / "hoist.toml"
    path.write_text(text)
    environ = {key: value for key, value in load_config().environ.items() if not key.startswith(("HOIST_", "AWS_"))}
    environ |= {"HOIST_CONFIG": str(path), "AWS_EC2_METADATA_DISABLED": "true"}
    if server:
        environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    return load_config(environ, home)


def bucket_table(name: str, server: S3Server, bucket: str, endpoint: str = "") -> str:
    """`[storage.NAME]` of a hoist.toml, for a bucket (or a prefix in it) of a server; `endpoint` is a relay before that."""
    where = endpoint or server.endpoint
    return f'[storage.{name}]\nurl = "s3://{bucket}"\nendpoint = "{where}"\nregion = "{server.region}"\n'


def _server(name: str, folder: Path, size: int) -> S3Server:
    from hoist.testing.servers import SERVERS, RadosgwServer

    if name not in SERVERS:
        raise LocalError(f"there is no local server {name!r}; there are {', '.join(SERVERS)}")
    if name == RadosgwServer.name:
        return RadosgwServer(size_bytes=size)
    return SERVERS[name](folder)
