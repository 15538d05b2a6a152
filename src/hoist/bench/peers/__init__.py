"""The ways of loading that Hoist is measured against, a file a family; each is imported only where it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hoist.bench.peers.base import Bucket, Loaded, Peer, Subject
from hoist.bench.peers.clients import CLIENTS
from hoist.bench.peers.copying import COPYING
from hoist.bench.peers.own import DIRECT, HOIST, OWN, REFERENCE
from hoist.bench.peers.plain import PLAIN
from hoist.bench.peers.runai import RUNAI
from hoist.bench.peers.streaming import STREAMING
from hoist.bench.peers.uploading import PUBLISH, UPLOADERS
from hoist.errors import UsageError

PEERS: Mapping[str, Peer] = {peer.name: peer for peer in (DIRECT, *PLAIN, *RUNAI, *STREAMING, *COPYING, *CLIENTS)}
LOADERS: Mapping[str, Peer] = {HOIST.name: HOIST, REFERENCE.name: REFERENCE, **PEERS}
PUBLISHERS: Mapping[str, Peer] = {PUBLISH.name: PUBLISH, **UPLOADERS}


def choose_peers(names: Iterable[str], peers: Mapping[str, Peer] = PEERS) -> list[Peer]:
    """The peers of those names, or all for `all`. Raises UsageError with the names that there are."""
    wanted = list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in peers and name != "all"]
    if unknown:
        raise UsageError(f"there is no peer {unknown[0]!r}; there are {', '.join(peers)}, and all")
    return [peer for name, peer in peers.items() if "all" in wanted or name in wanted]


__all__ = [
    "HOIST",
    "LOADERS",
    "OWN",
    "PEERS",
    "PUBLISHERS",
    "REFERENCE",
    "UPLOADERS",
    "Bucket",
    "Loaded",
    "Peer",
    "Subject",
    "choose_peers",
]
