"""The verb that cleans up behind killed publishes: collect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_json, completes
from hoist.cli.text import print_json, print_table, printable, show_count, show_seconds, show_size

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.transfer.collect import Collected

GROUP = "name and remove"
_KINDS = {
    "publish": "unfinished publish",
    "upload": "unfinished upload",
    "document": "document of no version",
    "marker": "marker of no version",
}


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "collect",
        run_collect,
        "Delete what killed publishes have left in a storage",
        about=(
            "Shows what would go; --yes deletes it. Nothing of a version ever goes, and nothing that was written within "
            "the grace time, as its publish may be alive, or be run again to go on."
        ),
        examples=("hoist collect nas", "hoist collect s3://models --grace 7d --yes"),
    )
    completes(
        parser.add_argument("storage", metavar="STORAGE", help="a name from hoist.toml, a URL or a path"), "folder"
    )
    parser.add_argument("--grace", metavar="TIME", default="24h", help="leave what is younger, as 90s, 30m, 24h, 7d")
    parser.add_argument("-y", "--yes", action="store_true", help="delete it")
    add_json(parser)


def run_collect(args: Namespace) -> int:
    """Collect, or show what would go."""
    from hoist.transfer.collect import parse_duration
    from hoist.verbs import collect

    done = collect(args.storage, grace_seconds=parse_duration(args.grace), delete=args.yes)
    if args.json:
        print_json(_document(args.storage, done))
    else:
        _print(args.storage, done)
    return 0


def _document(storage: str, done: Collected) -> dict[str, object]:
    gone = set(done.deleted)
    return {
        "storage": storage,
        "dry_run": done.dry_run,
        "size_bytes": done.size,
        "deleted_bytes": sum(item.size for item in done.deleted),
        "leftovers": [
            {
                "kind": item.kind,
                "name": item.name,
                "size_bytes": item.size,
                "modified": item.modified,
                "deleted": item in gone,
            }
            for item in done.found
        ],
    }


def _print(storage: str, done: Collected) -> None:
    import time

    if not done.found:
        print(printable(f"nothing to collect in {storage}"))
        return
    now = time.time()
    rows = [
        (
            _KINDS.get(item.kind, item.kind),
            item.name,
            show_size(item.size),
            show_seconds(now - item.modified, whole=True),
        )
        for item in done.found
    ]
    print_table(("WHAT", "NAME", "SIZE", "AGE"), rows)
    if done.dry_run:
        print(f"{show_count(len(done.found), 'leftover')}, {show_size(done.size)}: --yes deletes them")
        return
    size = sum(item.size for item in done.deleted)
    in_use = f"; {show_count(len(done.used), 'leftover')} in use by now" if done.used else ""
    print(f"deleted {show_count(len(done.deleted), 'leftover')}, {show_size(size)}{in_use}")
