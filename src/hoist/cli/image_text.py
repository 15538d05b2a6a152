"""What hoist image prints: for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.text import print_table, printable, short_digest, show_count, show_seconds, show_size

if TYPE_CHECKING:
    from hoist.image.build import Built
    from hoist.image.copying import Copied
    from hoist.image.limits import Verdict
    from hoist.image.plan import ImagePlan

_STATES = {
    "there": "there already",
    "mount": "mounted, not sent",
    "kept": "kept",
    "send": "sent",
    "make": "sent unless it is there",
}


def built_document(done: Built) -> dict[str, object]:
    """The JSON of a build or update."""
    return {
        "image": done.address,
        "digest": done.digest,
        "platforms": list(done.platforms),
        "versions": list(done.versions),
        "replaced": list(done.replaced),
        "layers": done.layers,
        "size_bytes": done.size,
        "sent_bytes": done.sent_bytes,
        "mounted_bytes": done.mounted_bytes,
        "there_bytes": done.there_bytes,
        "seconds": done.seconds,
        "already": done.already,
        "modelpack": done.modelpack or None,
        "stale": list(done.stale),
    }


def print_built(verb: str, done: Built) -> None:
    """A build or update for people."""
    state = "already up to date:" if done.already else verb
    print(printable(f"{state} {done.address}  {short_digest(done.digest)}"))
    print(
        f"  {show_count(done.layers, 'layer')}, {show_size(done.size)} in {show_seconds(done.seconds)}: {_moved(done)}"
    )
    if len(done.platforms) > 1:
        print(printable(f"  for {', '.join(done.platforms)}"))
    print(
        printable(f"  holds {', '.join(done.versions)}" + (f" for {', '.join(done.replaced)}" if done.replaced else ""))
    )
    if done.modelpack:
        print(printable(f"  as a ModelPack artifact under the tag {done.modelpack}"))


def copied_document(source: str, done: Copied) -> dict[str, object]:
    """The JSON of a copy."""
    return {
        "source": source,
        "image": done.address,
        "digest": done.digest,
        "manifests": done.manifests,
        "referring": list(done.referring),
        "sent_bytes": done.sent_bytes,
        "mounted_bytes": done.mounted_bytes,
        "there_bytes": done.there_bytes,
        "seconds": done.seconds,
    }


def print_copied(source: str, done: Copied) -> None:
    """A copy for people."""
    print(printable(f"copied {source} to {done.address}  {short_digest(done.digest)}"))
    print(f"  {show_count(done.manifests, 'manifest')} in {show_seconds(done.seconds)}: {_moved(done)}")
    if done.referring:
        print(printable(f"  with {', '.join(done.referring)}"))


def plan_document(done: ImagePlan) -> dict[str, object]:
    """The JSON of a plan."""
    return {
        "image": done.address or None,
        "platforms": list(done.platforms),
        "size_bytes": done.measures.image,
        "unpacked_bytes": done.measures.unpacked,
        "unpacked_is_exact": done.measures.exact,
        "largest_layer_bytes": done.measures.layer,
        "layer_count": done.measures.layers,
        "send_bytes": done.send_bytes,
        "layers": [
            {
                "what": each.what,
                "size_bytes": each.size,
                "unpacked_bytes": each.unpacked,
                "state": each.state,
                "digest": each.digest or None,
            }
            for each in done.layers
        ],
        "limits": [_limit_document(each) for each in done.verdicts],
        "stale": list(done.stale),
    }


def print_plan(done: ImagePlan) -> None:
    """A plan for people."""
    rows = [
        (
            each.what,
            show_size(each.size),
            "?" if each.unpacked is None else show_size(each.unpacked),
            _STATES[each.state],
        )
        for each in done.layers
    ]
    print_table(("LAYER", ">SIZE", ">UNPACKED", "WHAT BECOMES OF IT"), rows)
    least = "" if done.measures.exact else "at least "
    print(
        f"\n{show_count(done.measures.layers, 'layer')}, {show_size(done.measures.image)} ({least}"
        f"{show_size(done.measures.unpacked)} unpacked); to be sent: {show_size(done.send_bytes)}"
    )
    if len(done.platforms) > 1:
        print(printable(f"for {', '.join(done.platforms)}; the largest counts"))
    print()
    limits = [
        (each.limit.name, _of(each), _amount(each, each.used), _amount(each, each.limit.most), _verdict(each))
        for each in done.verdicts
    ]
    print_table(("LIMIT", "OF", ">HERE", ">AT MOST", "VERDICT"), limits)
    for each in done.verdicts:
        if not each.fits:
            print(printable(f"\n{each.limit.name}: {each.limit.note}.\n"))
            print(printable(f"  mend: {each.mend}"))
            print(printable(f"  source: {each.limit.source}, read {each.limit.read} {each.limit.url}".rstrip()))
    if done.stale:
        print(printable(f"\nof the image before the update, and not of the new one: {', '.join(done.stale)}"))


def _limit_document(verdict: Verdict) -> dict[str, object]:
    limit = verdict.limit
    unit = "count" if limit.of == "layers" else "bytes"
    return {
        "name": limit.name,
        "kind": limit.kind,
        "of": limit.of,
        f"most_{unit}": limit.most,
        f"used_{unit}": verdict.used,
        "fits": verdict.fits,
        "hard": limit.hard,
        "mend": verdict.mend or None,
        "note": limit.note,
        "source": limit.source,
        "url": limit.url or None,
        "read": limit.read,
    }


def _verdict(each: Verdict) -> str:
    if each.fits:
        return "fits"
    return "too much" if each.limit.hard else "more than is advised"


def _of(each: Verdict) -> str:
    return {"image": "the image", "unpacked": "unpacked", "layer": "a layer", "layers": "layers"}[each.limit.of]


def _amount(each: Verdict, value: int) -> str:
    return str(value) if each.limit.of == "layers" else show_size(value)


def _moved(done: Built | Copied) -> str:
    moved = ((done.sent_bytes, "sent"), (done.mounted_bytes, "mounted"), (done.there_bytes, "there already"))
    return ", ".join(f"{show_size(size)} {how}" for size, how in moved if size) or "nothing to send"
