"""A bucket: its endpoint, clock and TLS; the credentials and what they allow; conditional puts; ranges."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

from hoist.checkup.http import Answer, fetch
from hoist.checkup.report import Finding, Group
from hoist.checkup.transport import tls_finding
from hoist.config import StorageConfig
from hoist.errors import FileNotFound, HoistError, PermissionDenied, StorageNotFound, StorageUnavailable
from hoist.storage import layout
from hoist.storage.bucket import BucketObjects

# S3 refuses a request that is signed further off than this.
_REFUSED_SKEW = 900.0
_ODD_SKEW = 60.0
_SAMPLE = bytes(range(256)) * 256
_SPAN = (1000, 3000)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")
_READ_MEND = "give the credentials read permission (s3:GetObject) on the bucket and prefix"


@dataclass(frozen=True, slots=True)
class BucketCheck:
    """The checks of one bucket, in the order in which one makes the next worth asking."""

    objects: BucketObjects
    config: StorageConfig
    group: Group
    read_only: bool

    def run(self) -> Iterator[Finding]:
        """All findings; what follows from a failure is left out. Writes two small objects, unless read-only."""
        try:
            url = self.objects.url(f"{layout.TMP}doctor-absent")
        except HoistError as error:
            yield self.group.failed("credentials", str(error), _credentials_mend(self.config))
            return
        try:
            answer = fetch(url, self.config.ca_bundle, {"Range": "bytes=0-0"})
        except StorageUnavailable as error:
            yield self.group.failed("endpoint", str(error), _endpoint_mend(str(error)))
            return
        yield self._endpoint(url, answer)
        yield tls_finding(self.group, url, self.config.ca_bundle)
        yield self._clock(answer)
        listed = self._list()
        yield listed
        # A public bucket may be readable and not listable; one that is not there, or whose keys are wrong, is neither.
        if listed.status != "failed":
            yield from self._contents()

    def _endpoint(self, url: str, answer: Answer) -> Finding:
        detail = f"{_host(url)} answers in {answer.seconds * 1000:.0f} ms on a new connection"
        if answer.status >= 500:
            return self.group.warning("endpoint", f"{detail}, with {answer.status}", "look into the server's own log")
        return self.group.ok("endpoint", detail, seconds=answer.seconds)

    def _clock(self, answer: Answer) -> Finding:
        skew = answer.skew
        if skew is None:
            return self.group.missing("clock", "the server does not say its time", "none needed unless signing fails")
        way = "ahead of" if skew < 0 else "behind"
        detail = f"this clock is {abs(skew):.0f} s {way} the server's"
        if abs(skew) > _REFUSED_SKEW:
            mend = "set this machine's clock (timedatectl set-ntp true): S3 refuses signatures over 15 minutes off"
            return self.group.failed("clock", detail, mend, skew_seconds=skew)
        if abs(skew) > _ODD_SKEW:
            return self.group.warning("clock", detail, "set one of the two clocks by NTP", skew_seconds=skew)
        return self.group.ok("clock", "agrees with the server's", skew_seconds=skew)

    def _list(self) -> Finding:
        began = time.perf_counter()
        try:
            next(iter(self.objects.list(layout.VERSIONS)), None)
        except PermissionDenied as error:
            if self.config.anonymous:
                mend = "none needed to load: name versions in full, as no tool can list them"
                return self.group.warning("list", f"not without credentials: {error}", mend)
            return self.group.failed("credentials", str(error), _credentials_mend(self.config))
        except StorageNotFound as error:
            return self.group.failed("bucket", str(error), "make the bucket, or mend its name, region or endpoint")
        except HoistError as error:
            if self.config.anonymous:
                mend = "none needed to load: name versions in full, as no tool can list them"
                return self.group.warning("list", f"the server lists nothing: {error}", mend)
            return self.group.failed("list", str(error), "look into the server's own log, or check the endpoint")
        took = time.perf_counter() - began
        who = "no credentials needed" if self.config.anonymous else "accepted, and may list"
        return self.group.ok("credentials", f"{who} ({took * 1000:.0f} ms a listing)", seconds=took)

    def _contents(self) -> Iterator[Finding]:
        if self.read_only or self.config.anonymous:
            yield from self._read_existing()
            return
        key = f"{layout.TMP}doctor-{uuid4().hex}"
        try:
            self.objects.put(key, _SAMPLE)
        except HoistError as error:
            mend = "none needed to load; to publish, give the credentials write permission (s3:PutObject)"
            yield self.group.warning("write", str(error), mend)
            yield from self._read_existing()
            return
        try:
            yield self.group.ok("write", f"{len(_SAMPLE) >> 10} KiB written under {layout.TMP}")
            yield self._conditional()
            yield from self._read(key, _SAMPLE)
        finally:
            left = self._delete(key)
        yield left

    def _delete(self, key: str) -> Finding:
        try:
            self.objects.delete([key])
            try:
                self.objects.head(key)
            except FileNotFound:
                return self.group.ok("delete", "what was written is removed again")
            detail = f"{key} was deleted and is still there"
        except HoistError as error:
            detail = f"{key} stays: {error}"
        mend = "remove and collect need delete permission (s3:DeleteObject); loading and publishing do not"
        return self.group.warning("delete", detail, mend)

    def _conditional(self) -> Finding:
        try:
            honoured = self.objects.conditional()
        except HoistError as error:
            return self.group.warning(
                "conditional puts", str(error), "give delete permission as well (s3:DeleteObject)"
            )
        if honoured:
            return self.group.ok("conditional puts", "honoured: two publishers of one version cannot both win")
        mend = "publish each version from one place at a time, or upgrade the store"
        return self.group.warning("conditional puts", "ignored: two publishers of one version can race", mend)

    def _read_existing(self) -> Iterator[Finding]:
        """Read what is there: the smallest promise that needs no writing."""
        key = None
        try:
            found = (info.key for info in self.objects.list(layout.VERSIONS) if info.size >= _SPAN[1])
            key = next(found, None)
            sample = self.objects.get(key).data if key else b""
        except PermissionDenied as error:
            if not self.config.anonymous:
                yield self.group.failed("read", str(error), _READ_MEND)
                return
        except HoistError as error:
            if not self.config.anonymous:
                yield self.group.failed("read", str(error), "run it again; if it stays so, look into the server's log")
                return
        if key:
            yield from self._read(key, sample)
        else:
            mend = "publish a version first, or run without --read-only where you may write"
            yield self.group.missing("read", "not tried: nothing that can be found lies there yet", mend)

    def _read(self, key: str, sample: bytes) -> Iterator[Finding]:
        begin, end = _SPAN
        buffer = bytearray(end - begin)
        began = time.perf_counter()
        try:
            self.objects.read_into(key, begin, memoryview(buffer))
            took = time.perf_counter() - began
            answer = fetch(self.objects.url(key), self.config.ca_bundle, {"Range": f"bytes={begin}-{end - 1}"})
        except PermissionDenied as error:
            yield self.group.failed("read", str(error), _READ_MEND)
            return
        except HoistError as error:
            yield self.group.failed("read", str(error), "run it again; if it stays so, look into the server's log")
            return
        if buffer != sample[begin:end]:
            mend = "do not use this storage: it, or something on the way to it, changes bytes"
            yield self.group.failed("read", "other bytes came back than were written", mend)
            return
        yield self.group.ok("read", f"the bytes that were asked for ({took * 1000:.0f} ms)", seconds=took)
        yield self._ranges(answer, sample)

    def _ranges(self, answer: Answer, sample: bytes) -> Finding:
        begin, end = _SPAN
        right = answer.body == sample[begin:end]
        said = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
        told = said is not None and (int(said[1]), int(said[2]) + 1) == _SPAN
        if answer.status == 206 and right and told:
            return self.group.ok("ranges", "206, with the bytes that were asked for")
        if answer.status == 200 and right and told:
            return self.group.ok("ranges", "200 with a right Content-Range, as rclone answers")
        if answer.status == 200 and answer.body == sample[: len(answer.body)]:
            mend = "switch ranges on at the server or the proxy before it: each part of a file costs the whole file"
            return self.group.warning("ranges", "the server sends whole objects", mend)
        mend = "do not use this storage, or the proxy before it: ranges come back wrong"
        return self.group.failed("ranges", f"{answer.status}, with other bytes than were asked for", mend)


def _credentials_mend(config: StorageConfig) -> str:
    if config.url.startswith("oss:"):
        return "check OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET (or ~/.ossutilconfig), and what the user may do"
    if config.url.startswith("gs:"):
        return "check GOOGLE_APPLICATION_CREDENTIALS, and what the account may do"
    if config.url.startswith("az:"):
        return "check AZURE_STORAGE_ACCOUNT_NAME and its key, and what the identity may do"
    return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the profile), the region, and what the user may do"


def _endpoint_mend(why: str) -> str:
    if "certificate" in why:
        return "set ca_bundle to the PEM file of the authority that signed it"
    return "check endpoint and region in hoist.toml, the network, and proxies"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
