"""Publishes compared: Hoist and copy programs putting one file into a bucket, interleaved, beside the raw PUT limit.

What is put is looked at once for each peer, byte by byte, and removed again, untimed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore

from hoist.bench.child import run_child
from hoist.bench.load import read_through
from hoist.bench.peers.base import Peer, Subject
from hoist.bench.peers.uploading import PUBLISH
from hoist.bench.records import Recorder
from hoist.bench.subjects import bucket_of, peers_environ
from hoist.config import Config
from hoist.errors import HoistError, NotFound, UsageError
from hoist.read.connect import connect
from hoist.storage import layout
from hoist.storage.base import Version
from hoist.storage.bucket import BucketObjects
from hoist.storage.tree import TreeStorage
from hoist.verbs import remove

Record = dict[str, Any]
_NAME = "hoist-bench/publish"
_LIMIT = "limit"
# A store clears away what was removed a few seconds later: the next upload should not pay for it.
_LARGE, _SETTLE_SECONDS = 256 << 20, 12.0


@dataclass(frozen=True, slots=True)
class Options:
    """The peers, how often, and whether the raw limit is measured."""

    peers: Sequence[Peer] = ()
    repeat: int = 3
    limits: bool = True


def run_publishes(
    source: Path,
    storage: str,
    config: Config,
    options: Options,
    on_record: Callable[[Record], None] = lambda record: None,
) -> list[Record]:
    """Measure putting `source` into the bucket `storage`; each record is also told to `on_record`.

    Raises UsageError for a storage that is no bucket, and what publishing may.
    """
    recorder = Recorder(on_record)

    def note(values: Mapping[str, Any]) -> None:
        recorder.note("publish" if "loader" in values else "limit", values)

    opened, _ = connect(storage, config)
    with opened:
        objects = opened.objects if isinstance(opened, TreeStorage) else None
        if not isinstance(objects, BucketObjects):
            raise UsageError(f"{storage} is no bucket: publishes are compared on buckets")
        _Comparison(source, storage, config, options, objects, note).run()
    return recorder.records


class _Comparison:
    def __init__(
        self,
        source: Path,
        storage: str,
        config: Config,
        options: Options,
        objects: BucketObjects,
        note: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._source, self._storage, self._config = source, storage, config
        self._options, self._objects, self._note = options, objects, note
        self._size = source.stat().st_size
        self._sound: set[str] = set()
        self._base = {"location": storage, "file": source.name, "size": self._size, "place": "bucket", "public": False}
        self._base |= {"format": source.suffix.lstrip("."), "state": "publish"}

    def run(self) -> None:
        turns: list[Peer | str] = [*([_LIMIT] if self._options.limits else []), PUBLISH]
        for peer in self._options.peers:
            reason = peer.unavailable()
            if reason:
                self._skip(peer, reason)
            else:
                turns.append(peer)
        for run in range(self._options.repeat):
            first = run % len(turns)
            for turn in [*turns[first:], *turns[:first]]:
                read_through(self._source)
                values = self._put(turn) if isinstance(turn, Peer) else self._limit()
                self._note({**self._base, "run": run, **values})
                if self._size >= _LARGE:
                    time.sleep(_SETTLE_SECONDS)

    def _skip(self, peer: Peer, reason: str) -> None:
        self._note({**self._base, "loader": peer.name, "about": peer.about, "skipped": reason})

    def _subject(self) -> Subject:
        version = Version(_NAME, f"run-{uuid4().hex[:12]}")
        key = layout.file_key(version, self._source.name)
        bucket = bucket_of(self._config.storage(self._storage), key, self._config.environ)
        return Subject(f"{self._storage}//{version}", self._source.name, self._size, "", str(self._source), bucket)

    def _put(self, peer: Peer) -> dict[str, Any]:
        subject = self._subject()
        named = {"loader": peer.name, "about": peer.about, "packages": peer.versions}
        environ = {**peers_environ(self._config.environ, subject.bucket), **peer.environ}
        try:
            figures = run_child({"do": "publish", "loader": peer.name, "subject": subject.to_json()}, environ)
            self._check(peer, subject)
        except HoistError as error:
            if peer is PUBLISH:
                raise
            return {**named, "skipped": f"failed: {error}"}
        finally:
            self._remove(peer, subject)
        return {**named, "verified": "now" if peer.verifies else "no", "cached_before": None, **figures}

    def _check(self, peer: Peer, subject: Subject) -> None:
        """See that the object is there, and the first time that it is the file. Raises HoistError."""
        key = self._key(subject)
        if self._objects.head(key).size != self._size:
            raise HoistError(f"{peer.name} left an object of another size")
        if peer.name in self._sound:
            return
        whole = hashlib.sha256()
        for chunk in obstore.get(self._objects.store, key).stream(8 << 20):
            whole.update(memoryview(chunk))
        with self._source.open("rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != whole.digest():
                raise HoistError(f"{peer.name} left other bytes than the file's")
        self._sound.add(peer.name)

    def _key(self, subject: Subject) -> str:
        name, _, label = subject.location.partition("//")[2].rpartition(":")
        return layout.file_key(Version(name, label), subject.file)

    def _remove(self, peer: Peer, subject: Subject) -> None:
        with suppress(NotFound):
            if peer is PUBLISH:
                remove(subject.location, config=self._config)
            else:
                self._objects.delete([self._key(subject)])

    def _limit(self) -> dict[str, Any]:
        subject = replace(self._subject(), path=None)
        return {
            "limit": "put",
            **run_child({"do": "limit", "subject": subject.to_json(), "limit": "put"}, self._config.environ),
        }
