"""Works of the function benchmark that look at single loads: switching back, what fine-tunes share, the function's cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from hoist.bench.function_server import Server
from hoist.bench.function_stage import BUCKET, DIRECTORY, ONE, OTHER, SMALL, Stage, differing_bytes, locations
from hoist.bench.loaders import Switch
from hoist.bench.measuring import ready_memory
from hoist.errors import LocalError

_RECHECK = {"HOIST_RECHECK": "1"}
_TURNS = 4


def back(stage: Stage) -> Iterator[dict[str, Any]]:
    """A first load from a warm page cache, and the switch back to it from another model while it is in host memory.

    Once by somebody who has not verified the file here yet, and once by one who has.
    """
    environ = stage.new_cache()
    for verified in ("now", "before"):
        told: dict[str, Any] = {"device_bytes": stage.size(ONE), "environ": environ}
        with stage.servers.function(locations(DIRECTORY, ONE, OTHER), **told) as server:
            ready_memory(stage.size(ONE))
            base = {"storage": DIRECTORY, "size": stage.size(ONE), "verified": verified}
            yield base | {"step": "first", "cached_before": stage.warm(ONE), **_invoked(server, ONE)}
            _invoked(server, OTHER)
            yield base | {"step": "back", **_invoked(server, ONE)}


def sharing(stage: Stage) -> Iterator[dict[str, Any]]:
    """From one fine-tune to another out of a bucket: bytes moved, as traced and as sent, beside those that differ."""
    different = differing_bytes(stage.files[ONE], stage.files[OTHER])
    with stage.servers.function(locations(BUCKET, ONE, OTHER), environ=stage.new_cache()) as server:
        _invoked(server, ONE)
        sent = stage.web.traffic()[1]
        found = _invoked(server, OTHER)
        sent = stage.web.traffic()[1] - sent
    yield {"storage": BUCKET, "size": stage.size(OTHER), "different_bytes": different, "sent_bytes": sent, **found}


def overhead(stage: Stage) -> Iterator[dict[str, Any]]:
    """The same load bare, in a process like the function's, and by the function, in turns, every block verified by both."""
    size = stage.size(ONE)
    environ = stage.new_cache() | _RECHECK
    for storage in (DIRECTORY, BUCKET):
        # With room for one of the two: a switch to the small one lets go of the other.
        told: dict[str, Any] = {"host_bytes": size, "environ": environ}
        with (
            stage.servers.plain(environ) as bare,
            stage.servers.function(locations(storage, ONE, SMALL), **told) as server,
        ):
            for turn in range(_TURNS):
                for way in ("bare", "function") if turn % 2 else ("function", "bare"):
                    server.switched("/switch", SMALL)
                    bare.post("/invoke")
                    ready_memory(size)
                    cached = stage.warm(ONE)
                    found = _invoked(server, ONE) if way == "function" else _bare(bare, f"{storage}//bench/{ONE}:v1")
                    if turn:  # the first turn imports what nobody has yet
                        yield {
                            "step": way,
                            "turn": turn,
                            "storage": storage,
                            "size": size,
                            "cached_before": cached,
                        } | found


def _bare(server: Server, location: str) -> dict[str, Any]:
    answer = server.post("/invoke", {"loader": "hoist", "switch": asdict(Switch(location, hashed=False))})
    if answer.status != 200:
        raise LocalError(f"{location}: {answer.document['error']['message']}")
    return {key: answer.document[key] for key in ("seconds", "cpu_seconds", "peak_bytes")}


def _invoked(server: Server, name: str) -> dict[str, Any]:
    """Figures of the switch that a request for a model brings about; the model is not on the device."""
    with server.watched() as figures:
        answer = server.switched("/invoke", name)
    trace = server.new_trace(name)
    if trace is None:
        raise LocalError(f"{name} was answered without a load: it was on the device, and should not have been")
    moved = {key: trace[key] for key in ("fetched_bytes", "host_reused_bytes")}
    phases: dict[str, float] = {}
    for span in trace["spans"]:
        phases[span["phase"]] = phases.get(span["phase"], 0.0) + span["end"] - span["begin"]
    return {"seconds": answer.seconds, **figures, **moved, "phases": phases}
