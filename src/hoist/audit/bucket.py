"""What anybody may do with a bucket: tried with requests that carry no signature, and asked where its API tells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

from hoist.audit.finding import Finding, Severity
from hoist.checkup.http import fetch
from hoist.config import StorageConfig
from hoist.errors import FileNotFound, HoistError
from hoist.storage import layout
from hoist.storage.bucket import BucketObjects
from hoist.storage.open_bucket import base_url, presigner

_GROUPS = {"AllUsers": "everybody", "AuthenticatedUsers": "everybody with an account at this store"}
_GRANT = re.compile(rb"<Grant>(.*?)</Grant>", re.DOTALL)
_URI = re.compile(rb"<URI>[^<]*/([A-Za-z]+)</URI>")
_PERMISSION = re.compile(rb"<Permission>([A-Z_]+)</Permission>")
_PUBLIC = re.compile(rb"<IsPublic>\s*true\s*</IsPublic>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BucketProtection:
    """The checks of one bucket. `keys` are objects that are there, to be tried."""

    objects: BucketObjects
    config: StorageConfig
    environ: Mapping[str, str]
    keys: tuple[str, ...] = ()

    def run(self) -> Iterator[Finding]:
        """All findings. Writes nothing, unless everybody may: then one small object, which it deletes.

        Raises StorageUnavailable.
        """
        listed = self._list()
        read = [key for key in self.keys if self._ask(self._url(key), Range="bytes=0-0") in (200, 206)]
        # Where `anonymous` is configured the bucket is public on purpose.
        severity: Severity = "note" if self.config.anonymous else "error"
        mend = "block public access to the bucket, in its policy and its access list"
        if listed:
            yield self._finding(severity, "everybody may list it, without credentials", mend)
        if read:
            yield self._finding(severity, f"everybody may read it, without credentials: {read[0]}", mend)
        if self._write():
            detail = "everybody may write it, without credentials: a version can be replaced by whoever finds it"
            yield self._finding("error", detail, mend)
        yield from self._said(mend, seen=bool(listed or read))

    def _list(self) -> bool:
        if self.config.scheme == "az":
            query = {"restype": "container", "comp": "list", "maxresults": "1"}
        else:
            query = {"list-type": "2", "max-keys": "1"}
        return self._ask(f"{self._bucket}?{urlencode(query)}") == 200

    def _write(self) -> bool:
        """Whether a small object can be put where half-written files lie; it is deleted again."""
        if self.config.scheme == "az":
            return False
        key = f"{layout.TMP}audit-{uuid4().hex}"
        answer = fetch(self._url(key), self.config.ca_bundle, method="PUT", body=b"audit")
        try:
            self.objects.head(key)
        except FileNotFound:
            return False
        except HoistError:
            # Nobody here may look whether it came: its answer has to do.
            written = answer.status in (200, 201)
        else:
            written = True
        if written:
            try:
                self.objects.delete([key])
            except HoistError:
                fetch(self._url(key), self.config.ca_bundle, method="DELETE")
        return written

    def _said(self, mend: str, *, seen: bool) -> Iterator[Finding]:
        """What the bucket's access list and policy say, for those who may ask; `seen`: that it is public was seen."""
        if self.config.anonymous or self.config.scheme not in ("s3", "oss"):
            return
        signer = presigner(self.config, self.environ)
        if signer is None:
            return
        acl = fetch(signer.url("GET", None, {"acl": ""}, {}), self.config.ca_bundle)
        for grant in _GRANT.findall(acl.body) if acl.status == 200 else ():
            group, right = _URI.search(grant), _PERMISSION.search(grant)
            who = _GROUPS.get(group[1].decode()) if group else None
            if who and right and not (seen and right[1] == b"READ" and who == "everybody"):
                yield self._finding("error", f"its access list gives {who} {right[1].decode()}", mend)
        policy = fetch(signer.url("GET", None, {"policyStatus": ""}, {}), self.config.ca_bundle)
        if policy.status == 200 and _PUBLIC.search(policy.body) and not seen:
            yield self._finding("error", "its policy makes it public", mend)

    def _ask(self, url: str, **headers: str) -> int:
        return fetch(url, self.config.ca_bundle, headers).status

    def _finding(self, severity: Severity, detail: str, mend: str) -> Finding:
        return Finding("unprotected", severity, self.objects.address, self.config.url, detail, mend)

    def _url(self, key: str) -> str:
        return f"{base_url(self.config, self.environ)}/{quote(key)}"

    @property
    def _bucket(self) -> str:
        parts = urlsplit(self.config.url)
        return base_url(replace(self.config, url=f"{parts.scheme}://{parts.netloc}"), self.environ) + "/"
