"""radosgw: the S3 of a real Ceph cluster of one monitor and one disk, without systemd."""

from __future__ import annotations

import base64
import secrets
import struct
import time
import uuid
from pathlib import Path
from typing import ClassVar, Literal

from hoist.errors import LocalError
from hoist.testing.servers.base import S3Server, Traits, find_program, missing_programs
from hoist.testing.servers.children import Children
from hoist.testing.servers.ports import LOOPBACK, free_port

_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_PACKAGES = "ceph-mon ceph-osd radosgw ceph-common"
_CONFIGURATION = Path(__file__).with_name("ceph.conf")
_STEP_LIMIT_S = 60.0
_GIB = 1 << 30


class RadosgwServer(S3Server):
    """Ceph's object gateway. The data is in memory (`memstore`) or in a file of the folder (`bluestore`).

    `size_bytes` bounds the data; memory or disk is taken as objects come. A given folder must be empty: a cluster
    is always a new one.
    """

    name: ClassVar[str] = "radosgw"
    start_limit_s: ClassVar[float] = 60.0
    traits: ClassVar[Traits] = Traits(
        writable=True,
        ranges_with_206=True,
        honours_if_none_match=True,
        honours_if_match=True,
        # Ceph 16 compares PUT's If-Match with the bare ETag; its GET takes both.
        if_match_takes_quotes=False,
        checks_signatures=True,
        refuses_anonymous=True,
        checks_checksums=False,
        keeps_versions=True,
    )

    def __init__(
        self,
        folder: Path | None = None,
        *,
        store: Literal["memstore", "bluestore"] = "memstore",
        size_bytes: int = 3 * _GIB,
    ) -> None:
        super().__init__(folder)
        self._store = store
        self._size_bytes = size_bytes

    def restart(self) -> None:
        """Raises LocalError: a cluster is always a new one."""
        raise LocalError(f"{self.name}: cannot be started again")

    @classmethod
    def unavailable(cls) -> str | None:
        """None when Ceph's programs are installed; else the reason and the mend."""
        mend = f"sudo apt-get install -y --no-install-recommends {_PACKAGES}"
        return missing_programs(cls.name, _PROGRAMS, mend)

    def _launch(self, children: Children, port: int, folder: Path) -> None:
        folder = folder.resolve()
        if any(folder.iterdir()):
            raise LocalError(f"{self.name}: {folder} is not empty, and a cluster is always a new one")
        cluster, disk = str(uuid.uuid4()), str(uuid.uuid4())
        monitor = f"v2:{LOOPBACK}:{free_port()}"
        configuration = children.folder / "ceph.conf"
        configuration.write_text(
            _CONFIGURATION.read_text().format(
                cluster=cluster,
                monitor=monitor,
                address=f"{LOOPBACK}:{port}",
                work=children.folder,
                data=folder,
                store=self._store,
                size=self._size_bytes,
            )
        )
        keyring = children.folder / "keyring"
        keyring.write_text(_keyring())
        for part in ("mon", "osd", "rgw"):
            (folder / part).mkdir()

        map_file = str(children.folder / "monmap")
        self._run(children, "monmaptool", "--create", "--fsid", cluster, "--addv", "a", f"[{monitor}]", map_file)
        self._run(children, "ceph-mon", "-i", "a", "--mkfs", "--monmap", map_file, "--keyring", str(keyring))
        children.start("mon", [*self._ceph(children, "ceph-mon"), "-i", "a", "-f"])
        # Waits for the monitor; the disk's process comes up while the gateway's user is made, which waits for it.
        self._run(children, "ceph", "osd", "new", disk)
        self._run(children, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        children.start("osd", [*self._ceph(children, "ceph-osd"), "-i", "0", "-f"])
        # Before the gateway starts: both would make the same pools and the default zone at once.
        self._run(
            children, "radosgw-admin", "user", "create", "--uid=hoist", "--display-name=hoist",
            f"--access-key={self.access_key}", f"--secret-key={self.secret_key}",
        )  # fmt: skip
        children.start("radosgw", [*self._ceph(children, "radosgw"), "-n", "client.admin", "-f"])

    def _run(self, children: Children, program: str, *arguments: str) -> None:
        children.run(program, [*self._ceph(children, program), *arguments], _STEP_LIMIT_S)

    @staticmethod
    def _ceph(children: Children, program: str) -> list[str]:
        path = find_program(program)
        assert path is not None, "start() has asked unavailable()"
        return [path, "-c", str(children.folder / "ceph.conf")]


def _keyring() -> str:
    """One new key for every part of the cluster, in Ceph's form: type 1 (AES), time made, length, bytes."""
    key = base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)).decode()
    caps = "".join(f'\tcaps {service} = "allow *"\n' for service in ("mon", "osd", "mgr"))
    return "".join(f"[{entity}]\n\tkey = {key}\n{caps}" for entity in ("mon.", "osd.0", "client.admin"))
