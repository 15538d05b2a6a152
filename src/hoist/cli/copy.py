"""The verb that brings versions from storages to storages: copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_bandwidth, add_json, add_quiet
from hoist.cli.text import (
    print_json,
    printable,
    short_digest,
    show_count,
    show_rate,
    show_seconds,
    show_size,
    tell_error,
    warn,
)

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.transfer.copy import Copied


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        "publish and bring",
        "copy",
        run_copy,
        "Copy versions to other storages, verified, with the same digests",
        about=(
            "From any kind to any kind. Only what a target lacks moves; the source is read once for all targets. Nobody "
            "sees a version before it is whole there. A copy that was stopped goes on when it is run again."
        ),
        examples=(
            "hoist copy oss//sd15/anything:v5 nas",
            "hoist copy eu//sd15/anything:stable us ap --tag stable",
            "hoist copy nas//sd15/anything:v5 nas//sdxl/base:1.0 oci://registry.example.com/models --dry-run",
        ),
        resumable=True,
    )
    add = parser.add_argument
    text = "versions, as STORAGE//NAME:VERSION; then the storages that they shall go to"
    add("places", metavar="LOCATION... STORAGE", nargs="+", help=text)
    text = "then point this tag at it in each target (may be repeated); the tag that a location names goes along"
    add("--tag", action="append", default=[], metavar="TAG", help=text)
    text = "take over the label from a dead publish of other content"
    add("--replace-unfinished", action="store_true", help=text)
    add("--dry-run", action="store_true", help="only say what would move")
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def run_copy(args: Namespace) -> int:
    """Copy; the exit code is that of what failed, or 1 for several kinds of failures."""
    from hoist.cli.progress import make_reporter
    from hoist.errors import common_exit_code
    from hoist.verbs import copy

    locations, storages = split_places(args.places)
    with make_reporter(args.quiet) as progress:
        done = copy(
            locations,
            storages,
            tags=args.tag,
            replace_unfinished=args.replace_unfinished,
            dry_run=args.dry_run,
            progress=progress,
        )
    if args.json:
        print_json({"dry_run": args.dry_run, "copies": [_document(each) for each in done]})
    else:
        for each in done:
            _print(each)
    for each in done:
        if each.error is not None:
            tell_error(f"{each.version} to {each.storage}: {each.error}")
    return common_exit_code(each.error.exit_code for each in done if each.error is not None)


def split_places(places: Sequence[str]) -> tuple[list[str], list[str]]:
    """The locations, which come first, and the storages. Raises UsageError with the mend."""
    from hoist.errors import UsageError
    from hoist.model.reference import looks_like_location

    kinds = [looks_like_location(place) for place in places]
    count = kinds.index(False) if False in kinds else len(kinds)
    if not count:
        raise UsageError(f"{places[0]} is no location: say first what to copy, as STORAGE//NAME:VERSION, then where to")
    if count == len(places):
        raise UsageError(
            "say where to copy it to: a storage (a name from hoist.toml, a URL or a path) behind the locations"
        )
    if True in kinds[count:]:
        late = places[kinds.index(True, count)]
        raise UsageError(f"{late} is a location behind a storage: all locations come first, then the storages")
    return list(places[:count]), list(places[count:])


def _document(done: Copied) -> dict[str, object]:
    from hoist.errors import error_document

    return {
        "source": done.source,
        "storage": done.storage,
        "name": done.version.name,
        "version": done.version.label,
        "digest": done.digest,
        "tags": list(done.tags),
        "files": done.files,
        "size_bytes": done.size,
        "sent_bytes": done.sent_bytes,
        "resumed_bytes": done.resumed_bytes,
        "copied_bytes": done.copied_bytes,
        "read_bytes": done.read_bytes,
        "seconds": done.seconds,
        "already": done.already,
        "exclusive": done.exclusive,
        "packs": done.packs,
        "pack_bytes": done.pack_bytes,
        "signatures": done.signatures,
        "error": error_document(done.error),
    }


def _print(done: Copied) -> None:
    there = f"{done.storage}//{done.version}"
    if done.error is not None:
        print(printable(f"NOT copied {done.source} to {there}"))
        return
    state = "already there:" if done.already else "would copy" if done.dry_run else "copied"
    print(printable(f"{state} {there}  {short_digest(done.digest)}"))
    would = "would be " if done.dry_run else ""
    moved = (
        (f"{would}sent", done.sent_bytes),
        ("sent by an earlier run", done.resumed_bytes),
        (f"{would}copied inside the storage", done.copied_bytes),
    )
    shown = [f"{show_size(size)} {how}" for how, size in moved if size]
    took = "" if done.dry_run else f" in {show_seconds(done.seconds)}"
    rate = f" ({show_rate(done.sent_bytes, done.seconds)})" if done.sent_bytes and not done.dry_run else ""
    amount = f"{show_count(done.files, 'file')}, {show_size(done.size)}{took}"
    print(f"  {amount}" + (": " + ", ".join(shown) + rate if shown else ""))
    if done.signatures:
        print(f"  {show_count(done.signatures, 'signature')} came along")
    if done.tags:
        print(f"  tagged {', '.join(done.tags)}")
    if not done.exclusive:
        warn(
            f"{done.storage} ignores conditional writes, so two publishers can race there: "
            "bring one version there from one place at a time"
        )
