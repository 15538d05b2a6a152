"""Debian's docker-registry: the OCI distribution server that most private registries are, with its data as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hoist.testing.servers.base import Answer, LocalServer, find_program, missing_programs
from hoist.testing.servers.children import Children

USER, PASSWORD = "reader", "registry-test-only"
# Its hash of the cheapest bcrypt, the only one that the registry takes; Python has none of its own.
_HTPASSWD = f"{USER}:$2y$04$fqZe71epgyPDKhIsrEqcmOePzngnf8WhBOKb4pLLzbJJJ4iJVRLnO\n"


@dataclass(frozen=True, slots=True)
class TokenTrust:
    """Whose bearer tokens a registry takes: the token server's URL, its names, and the PEM certificate of its key."""

    realm: str
    service: str
    issuer: str
    certificate: Path


class DockerRegistry(LocalServer):
    """A registry, empty or with what `folder` holds; anybody may read, write and delete.

    `login`: only USER with PASSWORD may. `tokens`: only who brings a bearer token of that server may. `tls`: the PEM
    files of a certificate and its key; it then speaks HTTPS alone. `deletes` False: it refuses deletion, as one that
    nobody has configured does.
    """

    name: ClassVar[str] = "docker-registry"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        login: bool = False,
        tokens: TokenTrust | None = None,
        tls: tuple[Path, Path] | None = None,
        deletes: bool = True,
    ) -> None:
        super().__init__(folder)
        self._login, self._tokens, self._tls, self._deletes = login, tokens, tls, deletes

    @classmethod
    def unavailable(cls) -> str | None:
        """None when docker-registry is installed; else the reason and the mend."""
        mend = "sudo apt-get install -y --no-install-recommends docker-registry"
        return missing_programs(cls.name, ["docker-registry"], mend)

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT` but for another `address`, as it stands in the names of images."""
        self._running()
        return self._host

    @property
    def endpoint(self) -> str:
        """The registry's URL, without `/v2/`."""
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def request(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Send one request as it is, over plain HTTP. Raises LocalError when there is no answer."""
        return self._answer(method, target, headers or {}, body)

    def _launch(self, children: Children, port: int, folder: Path) -> None:
        configuration: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(folder.resolve())},
                "delete": {"enabled": self._deletes},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            # Uploads go on after a restart only where their state is signed by a secret that stays.
            "http": {"addr": f"{self.address}:{port}", "secret": "of-tests"},
        }
        if self._tls:
            configuration["http"]["tls"] = {"certificate": str(self._tls[0]), "key": str(self._tls[1])}
        if self._login:
            users = children.folder / "htpasswd"
            users.write_text(_HTPASSWD)
            configuration["auth"] = {"htpasswd": {"realm": "registry", "path": str(users)}}
        if self._tokens:
            trust = self._tokens
            configuration["auth"] = {
                "token": {
                    "realm": trust.realm,
                    "service": trust.service,
                    "issuer": trust.issuer,
                    "rootcertbundle": str(trust.certificate),
                }
            }
        file = children.folder / "registry.yml"
        # JSON is YAML.
        file.write_text(json.dumps(configuration))
        program = find_program("docker-registry")
        assert program is not None, "start() has asked unavailable()"
        children.start("registry", [program, "serve", str(file)])
