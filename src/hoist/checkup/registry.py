"""A registry, looked at closely: whether it answers, who we are to it, what we may do there, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from hoist.checkup.http import fetch
from hoist.checkup.report import Finding, Group
from hoist.checkup.transport import tls_finding
from hoist.config import StorageConfig
from hoist.errors import FileNotFound, HoistError, PermissionDenied, StorageUnavailable, StorageUnsupported
from hoist.model.manifest import Manifest, digest_of
from hoist.storage.base import StoredFile
from hoist.storage.image.reading import ImageReader
from hoist.storage.image.storage import ImageStorage
from hoist.storage.oci.digests import NO_DIGEST
from hoist.storage.oci.registry import Registry

_NOBODY = "hoist-doctor"
_SAMPLE_BYTES = 1 << 20
_LOGIN_MEND = "docker login, podman login or skopeo login, as a user who may use these repositories"
_DELETE_MEND = (
    "none needed to publish and load; for hoist remove allow it there (docker-registry: "
    "REGISTRY_STORAGE_DELETE_ENABLED=true)"
)


@dataclass(frozen=True, slots=True)
class RegistryCheck:
    """The checks of one registry, in the order in which one makes the next worth asking."""

    storage: ImageReader
    registry: Registry
    config: StorageConfig
    group: Group
    read_only: bool

    def run(self) -> Iterator[Finding]:
        """All findings; what follows from a failure is left out. Nothing that is begun stays in the registry."""
        url = f"{self.registry.base}/v2/"
        try:
            answer = fetch(url, self.config.ca_bundle)
        except StorageUnavailable as error:
            yield self.group.failed("endpoint", str(error), _endpoint_mend(str(error), url))
            return
        detail = f"{self.registry.base} answers in {answer.seconds * 1000:.0f} ms on a new connection"
        if answer.status not in (200, 401, 403):
            mend = "check the host and the port, or endpoint in hoist.toml: it must be where /v2/ is"
            yield self.group.failed("endpoint", f"{detail}, with {answer.status}: that is no registry", mend)
            return
        yield self.group.ok("endpoint", detail, seconds=answer.seconds)
        yield tls_finding(self.group, url, self.config.ca_bundle)
        login = self._login(asked=answer.status != 200)
        yield login
        if login.status == "failed":
            return
        listed = self._list()
        yield listed
        if listed.status != "failed":
            yield self._read()
            if isinstance(self.storage, ImageStorage) and not self.read_only:
                yield from self._change(self.storage)

    def _login(self, *, asked: bool) -> Finding:
        try:
            found = self.registry.login()
        except HoistError as error:
            return self.group.failed("login", str(error), "mend the login file or its helper, or log in anew")
        if found is None:
            if asked:
                mend = f"{_LOGIN_MEND}; none is needed for repositories that anybody may read"
                return self.group.warning("login", "none on this machine, and the registry asks for one", mend)
            return self.group.ok("login", "none on this machine, and none is asked for")
        return self.group.ok("login", "one is on this machine" + ("" if asked else ", and none is asked for"))

    def _list(self) -> Finding:
        began = time.perf_counter()
        try:
            next(self.storage.versions(), None)
        except PermissionDenied as error:
            return self.group.warning("list", str(error), f"{_LOGIN_MEND}; else name versions in full")
        except StorageUnsupported as error:
            return self.group.warning("list", str(error), "none needed to load: name models and versions in full")
        except HoistError as error:
            return self.group.failed("list", str(error), "see the message, or the registry's own log")
        took = time.perf_counter() - began
        return self.group.ok("list", f"repositories and tags are listed ({took * 1000:.0f} ms)", seconds=took)

    def _read(self) -> Finding:
        """A version's documents, which are checked whole, and a small file of it by range."""
        mend = "publish a version first"
        try:
            version = next(self.storage.versions(), None)
            if version is None:
                return self.group.missing("read", "not tried: no version lies there yet", mend)
            manifest = Manifest.parse(self.storage.read_manifest(version))
            sizes = sorted((entry.size, entry) for entry in manifest.files if 0 < entry.size <= _SAMPLE_BYTES)
            for size, entry in sizes[:1]:
                buffer = bytearray(size)
                self.storage.read_into(StoredFile(version, entry), 0, memoryview(buffer))
                if digest_of(buffer) != entry.digest:
                    mend = "do not use this registry, or the proxy before it: it changes bytes"
                    return self.group.failed(
                        "read", f"other bytes than were published: {entry.path} of {version}", mend
                    )
        except PermissionDenied as error:
            return self.group.warning("read", str(error), _LOGIN_MEND)
        except StorageUnsupported:
            return self.group.missing("read", "not tried: nothing can be found where nothing is listed", mend)
        except HoistError as error:
            return self.group.failed("read", str(error), "run it again; if it stays so, look into the registry's log")
        return self.group.ok("read", "by range, with the bytes that were published")

    def _change(self, storage: ImageStorage) -> Iterator[Finding]:
        repository = storage.repository_of(_NOBODY)
        try:
            self.registry.try_push(repository)
            yield self.group.ok("push", "an upload may begin (it was given up again)")
        except HoistError as error:
            mend = f"none needed to load; to publish: {_LOGIN_MEND}"
            yield self.group.warning("push", str(error), mend)
            return
        try:
            # Of what is not there: whoever may delete learns that.
            self.registry.delete_manifest(repository, NO_DIGEST)
        except FileNotFound:
            yield self.group.ok("delete", "allowed")
        except HoistError as error:
            yield self.group.warning("delete", str(error), _DELETE_MEND)


def _endpoint_mend(why: str, url: str) -> str:
    if "certificate" in why:
        return "set ca_bundle to the PEM file of the authority that signed it"
    if url.startswith("https:"):
        plain = url.removesuffix("/v2/").replace("https:", "http:", 1)
        return f'check the host and the network; for a registry without TLS set endpoint = "{plain}" in hoist.toml'
    return "check the host, its port and the network"
