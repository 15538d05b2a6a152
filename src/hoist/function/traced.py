"""Traces of what is measured elsewhere: a plain load, and an instance of a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.fleet.instance import LOADED
from hoist.fleet.instance import PHASES as FLEET_PHASES
from hoist.formatting import show_size
from hoist.function.trace import DONE, Span, Trace, new_trace_id

if TYPE_CHECKING:
    from hoist.fleet.instance import Instance
    from hoist.tensors.timing import Loaded

# What is streamed together goes under the one name.
_STREAMED = {"fetch+verify": "fetch"}


def trace_of_load(place: str, device: str, loaded: Loaded, import_seconds: float = 0.0) -> Trace:
    """The trace of one load of `place`; `import_seconds` went before it, where it was the first of its process.

    The bytes of the fetch and of the transfer lie on the longest of its parts.
    """
    copied = 0 if device == "cpu" else loaded.size
    imported = (Span("import", 0.0, import_seconds),) if import_seconds else ()
    sizes = {"fetch": loaded.size, "transfer": copied}
    steps = loaded.timed.steps
    longest = {
        phase: max((s for s in steps if s.phase == phase), key=lambda s: s.end - s.begin, default=None)
        for phase in sizes
    }
    note = f"{show_size(loaded.read_bytes)} asked of {'the storage' if loaded.verified else 'the file: not verified'}"
    spans = tuple(
        Span(
            step.phase,
            import_seconds + step.begin,
            import_seconds + step.end,
            sizes[step.phase] if longest.get(step.phase) is step else 0,
            note if step.phase == "fetch" else "",
        )
        for step in steps
    )
    return Trace(
        new_trace_id(),
        place,
        "load",
        loaded.timed.began - import_seconds,
        imported + spans,
        version=loaded.version,
        storage_kind=loaded.storage_kind,
        device=device,
        size_bytes=loaded.size,
        fetched_bytes=loaded.size,
        device_copied_bytes=copied,
    )


def trace_of_instance(location: str, device: str, began: float, instance: Instance) -> Trace:
    """The trace of one instance of a fleet that was wished for at `began`; its phases, of which only the lengths are known,
    one after another."""
    done = instance.state == LOADED
    spans, at = [], 0.0
    for phase in FLEET_PHASES:
        seconds = instance.phases.get(phase, 0.0)
        if seconds <= 0:
            continue
        name = _STREAMED.get(phase, phase)
        size = {"fetch": instance.size, "transfer": 0 if device == "cpu" else instance.size}.get(name, 0)
        note = f"{show_size(instance.fetched_bytes)} asked of the storage" if name == "fetch" else ""
        spans.append(Span(name, at, at + seconds, size, note))
        at += seconds
    return Trace(
        new_trace_id(),
        f"{location} (instance {instance.number} on {instance.node})",
        "start",
        began,
        tuple(spans),
        outcome=DONE if done else "failed",
        error=instance.error or "",
        device=device,
        size_bytes=instance.size,
        fetched_bytes=instance.size,
        device_copied_bytes=0 if device == "cpu" else instance.size,
    )
