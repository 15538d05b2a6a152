"""Loads compared: Hoist and its peers on one weight file, interleaved, each load in a process of its own.

Before anything is timed each loader loads once and its tensors are compared with those of the formats' own loaders. Then
they take turns, and the raw limit of the source with them, in an order that rotates from run to run: a machine that is
slower for a minute is so for all.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hoist.bench.child import run_child
from hoist.bench.peers import HOIST, OWN, REFERENCE, Peer
from hoist.bench.records import Recorder
from hoist.bench.subjects import find_subject, peers_environ
from hoist.config import Config
from hoist.errors import HoistError, LocalError
from hoist.pagecache import cached_fraction, drop

Record = dict[str, Any]
COLD, WARM, REMOTE = "cold", "warm", "remote"
_LIMITS = {COLD: "direct", WARM: "cached", REMOTE: "get"}
_READ_BYTES = 8 << 20
_LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: the peers, how often, and for a directory whether cold, warm or both.

    `folder` is where copies and the peers' own files go: it should be on the disk that is measured.
    """

    peers: Sequence[Peer] = ()
    repeat: int = 3
    states: Sequence[str] = (COLD, WARM)
    folder: Path | None = None
    limits: bool = True


def run_loads(
    location: str, config: Config, options: Options, on_record: Callable[[Record], None] = lambda record: None
) -> list[Record]:
    """Measure the loads of one version; each record is also told to `on_record` as soon as it is there.

    A peer that is not installed, cannot load this file, fails or loads other tensors has a record that says so.
    Raises UsageError for a version of several weight files, and what opening it may.
    """
    recorder = Recorder(on_record)

    def note(values: Mapping[str, Any]) -> None:
        recorder.note("load" if "loader" in values else "limit", values)

    with tempfile.TemporaryDirectory(prefix="hoist-bench-", dir=options.folder) as home:
        comparison = _Comparison(location, config, options, Path(home), note)
        comparison.run()
    return recorder.records


class _Comparison:
    """The loaders of one file, those that work, and where each keeps what it keeps."""

    def __init__(
        self, location: str, config: Config, options: Options, home: Path, note: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._options, self._home, self._note = options, home, note
        self._subject = find_subject(location, config, home / "copies")
        self._environ = {**peers_environ(config.environ, self._subject.bucket), "XDG_CACHE_HOME": str(home / "warm")}
        self._states = list(options.states) if self._subject.path else [REMOTE]
        self._made: dict[str, Path] = {}
        self._bytes: dict[str, int | None] = {}
        place = {"place": self._subject.place, "public": bool(self._subject.bucket and self._subject.bucket.anonymous)}
        self._base = {
            "location": location,
            "file": self._subject.file,
            "format": self._subject.format,
            "size": self._subject.size,
            **place,
        }

    def run(self) -> None:
        loaders = self._sound([HOIST, *self._options.peers])
        turns: list[Peer | str] = [*([_LIMIT] if self._options.limits else []), *loaders]
        for run in range(self._options.repeat):
            for state in self._states:
                first = run % len(turns)
                for turn in [*turns[first:], *turns[:first]]:
                    if isinstance(turn, Peer):
                        self._note({**self._base, "run": run, "state": state, **self._load(turn, state)})
                    else:
                        self._note({**self._base, "run": run, "state": state, **self._limit(state)})

    def _sound(self, wanted: Sequence[Peer]) -> Iterator[Peer] | list[Peer]:
        """The loaders that are here and load the right tensors; the others are noted with the reason."""
        right = self._child("check", REFERENCE)["fingerprint"]
        found = []
        for peer in wanted:
            reason = peer.unavailable() or peer.unable(self._subject)
            try:
                if reason is None:
                    reason = self._check(peer, right)
            except HoistError as error:
                if peer is HOIST:
                    raise
                reason = f"failed: {error}"
            if reason is None:
                found.append(peer)
            else:
                self._note({**self._base, "loader": peer.name, "about": peer.about, "skipped": reason})
        return found

    def _check(self, peer: Peer, right: str) -> str | None:
        """Why the loader cannot be measured: it did not make the tensors that it should have."""
        if peer.make:
            made = self._home / f"{peer.name}.made"
            self._child("make", peer, target=str(made))
            self._made[peer.name] = made
        answer = self._child("check", peer)
        self._bytes[peer.name] = answer["bytes_read"]
        if answer["fingerprint"] == right:
            return None
        if peer is HOIST:
            raise LocalError("Hoist and the reference loader made different tensors: please report it")
        return "its tensors are not the file's"

    def _load(self, peer: Peer, state: str) -> dict[str, Any]:
        named = {"loader": peer.name, "about": peer.about, "packages": peer.versions}
        environ = {}
        if state == COLD and peer in OWN:
            # A first load remembers nothing of an earlier one.
            environ = {"XDG_CACHE_HOME": str(self._home / "cold")}
        cached = self._prepare(peer, state)
        before = state == WARM and peer in OWN and self._trusted()
        try:
            figures = self._child("load", peer, environ)
        except HoistError as error:
            return {**named, "skipped": f"failed: {error}"}
        verified = ("before" if before else "now") if peer.verifies else "no"
        figures["bytes_read"] = self._bytes.get(peer.name) if figures["bytes_read"] is None else figures["bytes_read"]
        return {**named, "cached_before": cached, "verified": verified, **figures}

    def _limit(self, state: str) -> dict[str, Any]:
        if state == WARM and self._subject.path:
            read_through(Path(self._subject.path))
        task = {"do": "limit", "subject": self._subject.to_json(), "limit": _LIMITS[state]}
        return {"limit": _LIMITS[state], **run_child(task, self._environ)}

    def _prepare(self, peer: Peer, state: str) -> float | None:
        """Make the page cache as it shall be for the next load; the part of the file that it holds then."""
        path = self._made.get(peer.name) or (Path(self._subject.path) if self._subject.path else None)
        if path is None:
            return None
        if state == WARM:
            read_through(path)
            return cached_fraction(path)
        shutil.rmtree(self._home / "cold", ignore_errors=True)
        return drop([path])

    def _trusted(self) -> bool:
        folder = self._home / "warm" / "hoist" / "verified"
        return folder.is_dir() and any(folder.iterdir())

    def _child(self, do: str, peer: Peer, environ: Mapping[str, str] | None = None, **more: str) -> dict[str, Any]:
        copies = Path(self._subject.scratch)
        copies.mkdir(exist_ok=True)
        made = self._made.get(peer.name)
        subject = replace(self._subject, made=str(made) if made else None)
        task = {"do": do, "loader": peer.name, "subject": subject.to_json(), **more}
        try:
            return run_child(task, {**self._environ, **peer.environ, **(environ or {})})
        finally:
            shutil.rmtree(copies)


def read_through(path: Path) -> None:
    """Bring a whole file into the page cache."""
    buffer = bytearray(_READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
