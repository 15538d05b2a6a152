"""Weights through accelerators: the same signed request, sent to a cache nearby, with the origin behind it all.

An accelerator is sent exactly what the origin would be sent, its `Host` included, so that the signature holds. With
several, each 64 MiB stripe of an object has a first one, by rendezvous hashing: all readers ask the same one for the same
bytes, and when one comes or goes, only its stripes move. What goes wrong there costs time and never a load: the next one
is asked, and last the origin itself.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from hashlib import blake2b
from threading import Lock
from urllib.parse import urlsplit, urlunsplit

from hoist.afresh import attempt_afresh
from hoist.errors import HoistError, HoistWarning, PermissionDenied, StorageUnavailable
from hoist.storage.answers import Broken, Relayed
from hoist.storage.ranges import RangeClient

STRIPE_BYTES = 64 << 20
# One that waits for a slice which another reader's request brings says nothing meanwhile.
_READ_SECONDS = 60.0
_REST_SECONDS = 5.0


class Accelerated:
    """Reads ranges of an origin's URLs through `nodes` (`http://HOST:PORT`), and by `origin` where they fail.

    One that failed is left alone for some seconds. Safe for many threads.
    """

    def __init__(self, nodes: Sequence[str], origin: RangeClient, ca_bundle: str | None = None) -> None:
        self._nodes = tuple(nodes)
        self._origin = origin
        self._client = RangeClient(ca_bundle, _READ_SECONDS)
        self._lock = Lock()
        self._resting: dict[str, float] = {}
        self._warned: set[str] = set()

    def read_into(self, url: str, offset: int, buffer: memoryview, what: str) -> None:
        """As RangeClient.read_into; errors are the origin's own."""
        end = offset + len(buffer)
        if len(self._nodes) == 1:
            self._read_stripe(url, offset, buffer, what)
            return
        at = offset
        while at < end:
            stop = min(end, at - at % STRIPE_BYTES + STRIPE_BYTES)
            self._read_stripe(url, at, buffer[at - offset : stop - offset], what)
            at = stop

    def first_byte_seconds(self) -> float | None:
        """How long the first byte usually takes, of late; None while that is not known."""
        return self._client.first_byte_seconds()

    def close(self) -> None:
        """Close the idle connections to the accelerators."""
        self._client.close()

    def _read_stripe(self, url: str, offset: int, buffer: memoryview, what: str) -> None:
        attempt = attempt_afresh()
        parts = urlsplit(url)
        # What is still wrong after the accelerator has fetched it anew comes from the origin itself.
        for node in self._awake(f"{parts.netloc}{parts.path}", offset) if attempt <= 1 else ():
            try:
                self._ask(node, url, offset, buffer, what, anew=attempt == 1)
                return
            except Relayed:
                # To go on to a busy origin directly would take from it what the accelerator is there to spare it.
                raise
            except StorageUnavailable:
                self._rest(node)
            except HoistError as error:
                self._doubt(node, url, offset, buffer, what, error)
                return
        self._origin.read_into(url, offset, buffer, what)

    def _ask(self, node: str, url: str, offset: int, buffer: memoryview, what: str, *, anew: bool) -> None:
        """One node's answer; `anew` has it fetch from the origin what it may hold, for the sake of the others too."""
        place, parts = urlsplit(node), urlsplit(url)
        there = urlunsplit((place.scheme, place.netloc, parts.path, parts.query, ""))
        headers = {"Host": parts.netloc} | ({"Cache-Control": "no-cache"} if anew else {})
        try:
            self._client.read_into(there, offset, buffer, f"{what} by {node}", headers)
        except Broken:
            # It may have been killed; or what it holds on its disk is shorter than it was.
            if anew:
                raise
            self._ask(node, url, offset, buffer, what, anew=True)

    def _doubt(self, node: str, url: str, offset: int, buffer: memoryview, what: str, error: HoistError) -> None:
        """It has refused: ask the origin, whose word counts. Where that grants it, the accelerator is set up for another."""
        self._origin.read_into(url, offset, buffer, what)
        with self._lock:
            first = node not in self._warned
            self._warned.add(node)
        if first and isinstance(error, PermissionDenied):
            warnings.warn(
                f"the accelerator {node} refuses what the origin grants ({error}): it stands before another origin or "
                "prefix, so weights come from the origin itself",
                HoistWarning,
                stacklevel=2,
            )

    def _awake(self, key: str, offset: int) -> list[str]:
        """Those that may be asked, in the order of this stripe's preference."""
        now = time.monotonic()
        with self._lock:
            awake = [node for node in self._nodes if self._resting.get(node, 0.0) <= now]
        return preferred(awake, key, offset // STRIPE_BYTES)

    def _rest(self, node: str) -> None:
        with self._lock:
            self._resting[node] = time.monotonic() + _REST_SECONDS
        self._client.drop(node)


def preferred(nodes: Sequence[str], key: str, stripe: int) -> list[str]:
    """The nodes in the order in which this stripe of an object is asked of them: the same for every reader."""
    return sorted(nodes, key=lambda node: blake2b(f"{node}\n{key}\n{stripe}".encode(), digest_size=8).digest())
