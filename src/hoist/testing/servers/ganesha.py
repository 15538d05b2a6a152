"""nfs-ganesha: a real NFSv4 server in user space, over a folder of this machine."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from hoist.errors import LocalError
from hoist.testing.servers.base import Answer, LocalServer, find_program, missing_programs
from hoist.testing.servers.children import Children
from hoist.testing.servers.ports import listens

EXPORT = "/exp"
_MEND = "sudo apt-get install -y --no-install-recommends nfs-ganesha nfs-ganesha-vfs libnfs13"
_MODULE = "ganesha/libfsalvfs.so"
_CONFIGURATION = """\
NFS_CORE_PARAM {{
    Protocols = 4; Bind_addr = {host}; NFS_Port = {port}; MNT_Port = 0; NLM_Port = 0; Rquota_Port = 0;
    Enable_NLM = false; Enable_RQUOTA = false; Clustered = false;
}}
NFSv4 {{
    Graceless = true; Grace_Period = 1; Lease_Lifetime = {lease}; RecoveryBackend = fs; RecoveryRoot = "{work}";
    Minor_Versions = 0, 1, 2;
}}
LOG {{ Default_Log_Level = WARN; }}
NFS_KRB5 {{ Active_krb5 = false; }}
{exports}"""
_EXPORT = """\
EXPORT {{
    Export_Id = {number}; Path = "{path}"; Pseudo = "{pseudo}"; Access_Type = {access}; Squash = No_root_squash;
    SecType = sys; Protocols = 4; Transports = TCP; MaxRead = 1048576; MaxWrite = 1048576; FSAL {{ Name = VFS; }}
}}
"""


class GaneshaServer(LocalServer):
    """Exports `folder` as `/exp`, to be written by anybody, root as root. It needs root.

    `lease_s`: after how many seconds it forgets a client that is silent. `more`: other folders to export, by their path
    on the server; `read_only`: those of them that nobody may write. `restart` keeps port and files.
    """

    name: ClassVar[str] = "nfs-ganesha"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        lease_s: int = 10,
        more: dict[str, Path] | None = None,
        read_only: tuple[str, ...] = (),
    ) -> None:
        super().__init__(folder)
        self._lease, self._more, self._read_only = lease_s, dict(more or {}), read_only

    @classmethod
    def unavailable(cls) -> str | None:
        """None when nfs-ganesha with its VFS module is installed and this is root; else the reason and the mend."""
        missing = missing_programs(cls.name, ["ganesha.nfsd"], _MEND)
        if missing is None and not any(Path("/usr/lib").glob(f"*/{_MODULE}")):
            missing = f"{cls.name} has no VFS module: {_MEND}"
        if missing is None and os.geteuid() != 0:
            missing = f"{cls.name} opens files by handle, which only root may: run as root"
        return missing

    @property
    def port(self) -> int:
        """The port that it listens on."""
        self._running()
        return self._port

    @property
    def url(self) -> str:
        """`nfs://127.0.0.1:PORT/exp` but for another `address`: the export of `data_folder`."""
        return f"nfs://{self._host}{EXPORT}"

    def url_of(self, path: str) -> str:
        """The URL of another path on the server."""
        return f"nfs://{self._host}{path}"

    def _launch(self, children: Children, port: int, folder: Path) -> None:
        work = children.folder
        exports = {EXPORT: folder.resolve(), **self._more}
        if any(character in str(path) for path in exports.values() for character in '"\n'):
            raise LocalError(f"{self.name}: cannot export a folder whose name has a quote or a new line")
        said = [
            _EXPORT.format(number=number, path=path, pseudo=pseudo, access="RO" if pseudo in self._read_only else "RW")
            for number, (pseudo, path) in enumerate(exports.items(), 1)
        ]
        file = work / "ganesha.conf"
        file.write_text(
            _CONFIGURATION.format(host=self.address, port=port, lease=self._lease, work=work, exports="".join(said))
        )
        program = find_program("ganesha.nfsd")
        assert program is not None, "start() has asked unavailable()"
        command = [program, "-F", "-f", str(file), "-L", str(work / "ganesha-server.log"), "-p", str(work / "pid")]
        children.start("ganesha", command)

    def _exchange(self, method: str, target: str, headers: object, body: bytes) -> Answer:
        """It speaks no HTTP: that somebody takes the connection is an answer."""
        with suppress(ConnectionError), socket.create_connection((self.address, self._port), timeout=5):
            if listens(self._port, self.pids, self.address):
                return Answer(200, {}, b"")
        return Answer(503, {}, b"")
