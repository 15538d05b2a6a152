"""The verbs that change what names a storage has: tag, remove."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_json, add_location
from hoist.cli.text import print_json, printable, short_digest

if TYPE_CHECKING:
    from argparse import Namespace

GROUP = "name and remove"


def add_to(root: Root) -> None:
    """Add the verbs of this group."""
    parser = root.add_verb(
        GROUP,
        "tag",
        run_tag,
        "Give a version another, movable name",
        about="A tag that exists is moved; where the storage can, by compare-and-swap. hoist history shows its moves.",
        examples=(
            "hoist tag nas//sd15/anything:v5 stable",
            "hoist tag nas//sd15/anything:v5 stable --note 'ticket 81'",
        ),
    )
    add_location(parser)
    parser.add_argument("tag", metavar="TAG", help="the name, such as stable or latest")
    parser.add_argument("--note", default="", metavar="TEXT", help="why, for the tag's history")
    add_json(parser)
    parser = root.add_verb(
        GROUP,
        "remove",
        run_remove,
        "Remove a version, or a tag",
        about=(
            "A tag's name removes the tag alone. A version that has tags is kept unless --force, which removes them "
            "too. On a terminal it asks first; elsewhere it needs --yes."
        ),
        examples=("hoist remove nas//sd15/anything:v4", "hoist remove nas//sd15/anything:stable --yes"),
        aliases=("rm",),
    )
    add_location(parser, "the version or tag, as STORAGE//NAME:VERSION")
    parser.add_argument("--force", action="store_true", help="remove its tags too")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    add_json(parser)


def run_tag(args: Namespace) -> int:
    """Set the tag."""
    from hoist.verbs import tag

    made = tag(args.location, args.tag, note=args.note)
    if args.json:
        print_json({"name": made.name, "tag": made.tag, "version": made.label, "digest": made.digest})
    else:
        print(f"{made.name}:{made.tag} is now {made.name}:{made.label}  {short_digest(made.digest)}")
    return 0


def run_remove(args: Namespace) -> int:
    """Remove after asking."""
    from hoist.storage.base import Tag
    from hoist.verbs import remove

    if not args.yes:
        _confirm(args.location)
    gone = remove(args.location, force=args.force)
    is_tag = isinstance(gone, Tag)
    label = gone.tag if isinstance(gone, Tag) else gone.label
    kind = "tag" if is_tag else "version"
    if args.json:
        print_json({"removed": kind, "name": gone.name, kind: label})
    else:
        print(f"removed the {kind} {gone.name}:{label}")
    return 0


def _confirm(location: str) -> None:
    """Raises UsageError where nobody can be asked, HoistError for anything but yes."""
    from hoist.errors import HoistError, UsageError
    from hoist.model.reference import parse_location

    parse_location(location)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nobody is at a terminal to be asked: add --yes to remove it")
    # The question is no data: it goes where errors go.
    print(printable(f"remove {location}?") + " [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise HoistError("nothing was removed")
