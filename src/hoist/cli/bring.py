"""The verbs that bring versions into a storage and out of it: publish, pull."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_bandwidth, add_json, add_location, add_quiet, completes
from hoist.cli.text import print_json, printable, short_digest, show_count, show_rate, show_seconds, show_size, warn

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.transfer.publish import Published
    from hoist.transfer.pull import Pulled

GROUP = "publish and bring"


def add_to(root: Root) -> None:
    """Add the verbs of this group."""
    _add_publish(root)
    _add_pull(root)


def _add_publish(root: Root) -> None:
    parser = root.add_verb(
        GROUP,
        "publish",
        run_publish,
        "Publish a file or folder as an immutable version",
        about="Nobody sees the version before it is whole. A publish that was stopped goes on when it is run again.",
        examples=(
            "hoist publish anything-v5.safetensors nas//sd15/anything:v5 --tag stable",
            "hoist publish ./sdxl s3://models//sdxl/base:1.0 --exclude '*.md'",
        ),
        resumable=True,
    )
    completes(parser.add_argument("source", metavar="SOURCE", help="a file, or a folder with all its files"), "file")
    add_location(parser, "where it shall be, as STORAGE//NAME:VERSION")
    add = parser.add_argument
    add("--tag", action="append", default=[], metavar="TAG", help="then point this tag at it (may be repeated)")
    text = "then sign it by this private key (PEM), or by sigstore: before a tag points at it"
    completes(add("--sign", metavar="KEY", help=text), "file")
    add("--exclude", action="append", default=[], metavar="PATTERN", help="leave out files like this (may be repeated)")
    add("--replace-unfinished", action="store_true", help="take over the label from a dead publish of other content")
    add("--unchecked", action="store_true", help="publish a .safetensors file even if it is none")
    text = "lay files below this size into packs too, 0 for none (default: 256KiB in buckets, none in directories)"
    add("--pack-below", metavar="SIZE", help=text)
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def _add_pull(root: Root) -> None:
    parser = root.add_verb(
        GROUP,
        "pull",
        run_pull,
        "Bring a version's files to a folder, verified",
        about="A pull that was stopped goes on when it is run again. Files that are there already are kept.",
        examples=(
            "hoist pull nas//sd15/anything:stable ./models",
            "hoist pull s3://models//sdxl/base:1.0 ./sdxl --include '*.safetensors'",
        ),
        resumable=True,
    )
    add_location(parser)
    completes(
        parser.add_argument("folder", metavar="FOLDER", help="where the files shall be; made if missing"), "folder"
    )
    add = parser.add_argument
    add("--include", action="append", default=[], metavar="PATTERN", help="only files like this (may be repeated)")
    add("--force", action="store_true", help="replace files that are there with other content")
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def run_publish(args: Namespace) -> int:
    """Publish, and warn where two publishers can race."""
    from hoist.cli.progress import make_reporter
    from hoist.config import parse_size
    from hoist.verbs import publish

    with make_reporter(args.quiet) as progress:
        done = publish(
            args.source,
            args.location,
            tags=args.tag,
            exclude=args.exclude,
            replace_unfinished=args.replace_unfinished,
            checked=not args.unchecked,
            sign=args.sign,
            pack_below=None if args.pack_below is None else parse_size(args.pack_below),
            progress=progress,
        )
    if not done.exclusive:
        warn(
            "this storage ignores conditional writes, so two publishers can race here: "
            "publish one version from one place at a time"
        )
    if args.json:
        print_json(_published(args.location, args.tag, done))
    else:
        _print_published(args.location, args.tag, done)
    return 0


def _published(location: str, tags: list[str], done: Published) -> dict[str, object]:
    return {
        "location": location,
        "name": done.version.name,
        "version": done.version.label,
        "digest": done.digest,
        "tags": tags,
        "files": done.files,
        "size_bytes": done.size,
        "sent_bytes": done.sent_bytes,
        "resumed_bytes": done.resumed_bytes,
        "copied_bytes": done.copied_bytes,
        "seconds": done.seconds,
        "already": done.already,
        "exclusive": done.exclusive,
        "packs": done.packs,
        "pack_bytes": done.pack_bytes,
        "signed_by": done.signed_by or None,
    }


def _print_published(location: str, tags: list[str], done: Published) -> None:
    state = "already published" if done.already else "published"
    print(printable(f"{state} {location}  {short_digest(done.digest)}"))
    amount = f"{show_count(done.files, 'file')}, {show_size(done.size)} in {show_seconds(done.seconds)}"
    moved = (
        ("sent", done.sent_bytes),
        ("sent by an earlier run", done.resumed_bytes),
        ("copied inside the storage", done.copied_bytes),
    )
    shown = [f"{show_size(size)} {how}" for how, size in moved if size]
    print(f"  {amount}" + (": " + ", ".join(shown) if shown else ""))
    if done.packs:
        sent = f": {show_size(done.pack_bytes)} sent" if done.pack_bytes else ""
        print(f"  small files also lie in {show_count(done.packs, 'pack')}{sent}")
    if done.signed_by:
        print(printable(f"  signed by {done.signed_by}"))
    if tags:
        print(f"  tagged {', '.join(tags)}")


def run_pull(args: Namespace) -> int:
    """Pull."""
    from hoist.cli.progress import make_reporter
    from hoist.verbs import pull

    with make_reporter(args.quiet) as progress:
        done = pull(args.location, args.folder, include=args.include, force=args.force, progress=progress)
    if args.json:
        print_json(
            {
                "location": args.location,
                "folder": args.folder,
                "files": done.files,
                "size_bytes": done.size,
                "fetched_bytes": done.fetched_bytes,
                "kept_bytes": done.kept_bytes,
                "seconds": done.seconds,
            }
        )
    else:
        _print_pulled(args.location, args.folder, done)
    return 0


def _print_pulled(location: str, folder: str, done: Pulled) -> None:
    print(printable(f"pulled {location} to {folder}"))
    amount = f"{show_count(done.files, 'file')}, {show_size(done.size)} in {show_seconds(done.seconds)}"
    parts = []
    if done.fetched_bytes:
        rate = show_rate(done.fetched_bytes, done.seconds)
        parts.append(f"{show_size(done.fetched_bytes)} fetched and verified ({rate})")
    if done.kept_bytes:
        parts.append(f"{show_size(done.kept_bytes)} already there and right")
    print(f"  {amount}" + (": " + ", ".join(parts) if parts else ""))
