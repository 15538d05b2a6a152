"""The verbs that look: list, inspect, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_bandwidth, add_json, add_location, add_quiet, add_signed_by, completes
from hoist.cli.text import (
    print_json,
    print_table,
    printable,
    short_digest,
    show_count,
    show_rate,
    show_seconds,
    show_size,
    warn,
)

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.read.listing import Listed
    from hoist.transfer.verify import Verified

GROUP = "look and check"


def add_to(root: Root) -> None:
    """Add the verbs of this group."""
    parser = root.add_verb(
        GROUP,
        "list",
        run_list,
        "List the storages, or the versions in one",
        about="Without STORAGE: the storages that hoist.toml and HOIST_STORAGE_* configure.",
        examples=("hoist list", "hoist list nas", "hoist list s3://models sd15/anything"),
        aliases=("ls",),
    )
    completes(
        parser.add_argument("storage", metavar="STORAGE", nargs="?", help="a name from hoist.toml, a URL or a path"),
        "folder",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="only the versions of this model")
    text = "show which versions this public key, or IDENTITY@ISSUER, has signed (may be repeated: one of them)"
    completes(parser.add_argument("--signed-by", action="append", default=[], metavar="KEY", help=text), "file")
    add_json(parser)
    _add_inspect(root)
    _add_verify(root)


def _add_inspect(root: Root) -> None:
    parser = root.add_verb(
        GROUP,
        "inspect",
        run_inspect,
        "Show a version's files and tensors, and who shares its blocks",
        about="Reads the manifest and the files' headers, never the weights.",
        examples=("hoist inspect nas//sd15/anything:v5", "hoist inspect nas//sd15/anything:v5 --tensors --no-shared"),
    )
    add_location(parser)
    parser.add_argument("--tensors", action="store_true", help="show each tensor with its dtype, shape and size")
    parser.add_argument("--no-shared", action="store_true", help="do not look at the storage's other versions")
    add_json(parser)


def _add_verify(root: Root) -> None:
    parser = root.add_verb(
        GROUP,
        "verify",
        run_verify,
        "Read a version back and check every block",
        about="Prints each damaged byte range, and exits with 7 if there is one, with 11 without a wanted signature.",
        examples=("hoist verify nas//sd15/anything:v5", "hoist verify nas//sd15/anything:v5 --signed-by release.pub"),
    )
    add_location(parser)
    add_signed_by(parser)
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def run_list(args: Namespace) -> int:
    """List the versions of a storage, or the storages."""
    if args.storage is None:
        from hoist.cli.storages import show_storages
        from hoist.errors import UsageError

        if args.signed_by:
            raise UsageError(
                "--signed-by tells of the versions of a storage: name one, as hoist list nas --signed-by KEY"
            )
        return show_storages(args.json)
    import hoist.verbs

    found = hoist.verbs.list(args.storage, args.name, signed_by=args.signed_by)
    if args.json:
        print_json({"storage": args.storage, "versions": [_listed(item) for item in found]})
    elif not found:
        print(printable(f"{args.storage} has no versions" + (f" of {args.name}" if args.name else "")))
    else:
        _print_listing(found)
    return 0


def _listed(item: Listed) -> dict[str, object]:
    return {
        "name": item.version.name,
        "version": item.version.label,
        "digest": item.digest or None,
        "size_bytes": item.size,
        "files": item.files,
        "tags": item.tags,
        "signed_by": item.signed_by or None,
        "problem": item.problem or None,
    }


def _print_listing(found: Sequence[Listed]) -> None:
    rows: list[tuple[str, ...]] = [
        (str(item.version), show_size(item.size), str(item.files), short_digest(item.digest), ", ".join(item.tags))
        if not item.problem
        else (str(item.version), "?", "?", "damaged", ", ".join(item.tags))
        for item in found
    ]
    titles: tuple[str, ...] = ("VERSION", ">SIZE", ">FILES", "DIGEST", "TAGS")
    if any(item.signed_by for item in found):
        titles += ("SIGNED BY",)
        rows = [(*row, item.signed_by) for row, item in zip(rows, found, strict=True)]
    print_table(titles, rows)
    problems = [item.problem for item in found if item.problem]
    if problems:
        print()
    for problem in problems:
        print(printable(problem))


def run_inspect(args: Namespace) -> int:
    """Show a version."""
    from hoist.cli.inspect import show_version

    return show_version(args.location, tensors=args.tensors, shared=not args.no_shared, as_json=args.json)


def run_verify(args: Namespace) -> int:
    """Verify; damage is printed and is exit code 7."""
    from hoist.cli.progress import make_reporter
    from hoist.errors import DamagedBlock
    from hoist.verbs import verify

    with make_reporter(args.quiet) as progress:
        found = verify(args.location, signed_by=args.signed_by, progress=progress)
    if args.json:
        print_json(_verified(args.location, found))
    else:
        _print_verified(args.location, found)
    if found.damaged_packs and not found.damaged:
        warn(
            f"packs of small files are damaged or missing ({', '.join(map(short_digest, found.damaged_packs))}): reading "
            "goes to the files themselves, in more requests; mend it: publish the same files again with --pack-below 256KiB"
        )
    return DamagedBlock.exit_code if found.damaged else 0


def _verified(location: str, found: Verified) -> dict[str, object]:
    return {
        "location": location,
        "ok": not found.damaged,
        "files": found.files,
        "blocks": found.blocks,
        "read_bytes": found.bytes_read,
        "seconds": found.seconds,
        "packs": found.packs,
        "damaged_packs": found.damaged_packs,
        "signed_by": found.signed_by or None,
        "damaged": [
            {"path": item.path, "begin": item.begin, "end": item.end, "missing": item.missing} for item in found.damaged
        ],
    }


def _print_verified(location: str, found: Verified) -> None:
    amount = f"{show_count(found.files, 'file')}, {show_count(found.blocks, 'block')}, {show_size(found.bytes_read)}"
    took = f"{show_seconds(found.seconds)} ({show_rate(found.bytes_read, found.seconds)})"
    if not found.damaged:
        print(printable(f"{location} is whole" + (f", and signed by {found.signed_by}" if found.signed_by else "")))
        print(f"  {amount} read and checked in {took}")
        return
    print(printable(f"{location} is damaged"))
    print(f"  {amount} read and checked in {took}")
    rows = [
        (item.path, str(item.begin), str(item.end), show_size(item.end - item.begin), "missing" * item.missing)
        for item in found.damaged
    ]
    print_table(("DAMAGED FILE", ">FROM BYTE", ">TO BYTE", ">SIZE", ""), rows, indent="  ")
    print("  mend it: remove the version with --force and publish it again, or read it from another storage")
