"""The verbs of the host cache: `cache list`, `pin`, `unpin`, `drop`, `verify`, `limit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_bandwidth, add_command, add_json, add_quiet
from hoist.cli.text import (
    print_json,
    print_table,
    printable,
    short_digest,
    show_count,
    show_rate,
    show_seconds,
    show_size,
)

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.cli.parser import Commands, Parser
    from hoist.read.cache.entries import CacheEntry, CacheUsage
    from hoist.transfer.cached import CacheVerified

GROUP = "this host"
_TARGET = "a location or a part of one, as list shows it (nas//sd15/anything:v5, sd15/anything:v5), or a digest"
_LIMITS = {
    "configuration": "set by HOIST_CACHE_SIZE or [cache]",
    "folder": "set by hoist cache limit",
    "disk": "half of what its disk has for it",
}


def add_to(root: Root) -> None:
    """Add the verbs of this group."""
    parser = root.add_verb(
        GROUP,
        "cache",
        None,
        "Show and manage the host cache: verified blocks, shared by all processes of this host",
        about="Loads and pulls use it where HOIST_CACHE or [cache] in hoist.toml switch it on.",
    )
    commands: Commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_list(commands)
    _add_pin(commands)
    _add_drop(commands)
    _add_verify(commands)
    _add_limit(commands)


def _add_list(commands: Commands) -> None:
    parser = add_command(
        commands,
        "list",
        run_list,
        "List the files in the cache, the last used first",
        examples=("hoist cache list", "hoist cache list --json"),
        aliases=("ls",),
    )
    add_json(parser)


def _add_pin(commands: Commands) -> None:
    pin = add_command(
        commands,
        "pin",
        run_pin,
        "Bring a version whole into the cache, and never evict it",
        about="Of anything but a location, what the cache has of it is pinned, and nothing is brought.",
        examples=("hoist cache pin oss//sd15/anything:stable", "hoist cache pin sd15/anything:v5"),
        resumable=True,
    )
    _add_target(pin)
    add_bandwidth(pin)
    add_quiet(pin)
    add_json(pin)
    unpin = add_command(
        commands,
        "unpin",
        run_unpin,
        "Let what was pinned be evicted again",
        examples=("hoist cache unpin sd15/anything:v5",),
    )
    _add_target(unpin)
    add_json(unpin)


def _add_drop(commands: Commands) -> None:
    parser = add_command(
        commands,
        "drop",
        run_drop,
        "Remove files from the cache, pinned ones too",
        about="A file that a process has open or mapped stays, and the exit code is 4.",
        examples=("hoist cache drop sd15/anything:v5", "hoist cache drop --all"),
    )
    _add_target(parser, optional=True)
    parser.add_argument("--all", action="store_true", help="everything in the cache")
    parser.add_argument("--force", action="store_true", help="also what is in use: its users keep it until they let go")
    add_json(parser)


def _add_verify(commands: Commands) -> None:
    parser = add_command(
        commands,
        "verify",
        run_verify,
        "Hash every block in the cache, and drop what is damaged",
        about="A dropped block is fetched again when it is wanted. Exits with 7 if there was one.",
        examples=("hoist cache verify", "hoist cache verify sd15/anything:v5"),
    )
    _add_target(parser, optional=True)
    add_quiet(parser)
    add_json(parser)


def _add_limit(commands: Commands) -> None:
    parser = add_command(
        commands,
        "limit",
        run_limit,
        "Show how full the cache is, or set how many bytes it may hold",
        about="What was not used for longest goes until it fits; what is pinned or in use stays.",
        examples=("hoist cache limit", "hoist cache limit 200GiB", "hoist cache limit default"),
    )
    parser.add_argument("size", metavar="SIZE", nargs="?", help="as 200GiB; default: half of what the disk has for it")
    add_json(parser)


def _add_target(parser: Parser, *, optional: bool = False) -> None:
    parser.add_argument("target", metavar="TARGET", nargs="?" if optional else None, help=_TARGET)


def run_list(args: Namespace) -> int:
    """List the cache."""
    from hoist.verbs import host_cache

    cache = host_cache()
    entries, usage = cache.entries(), cache.usage()
    if args.json:
        print_json({**_usage(usage), "entries": [_entry(entry) for entry in entries]})
        return 0
    if entries:
        _print_entries(entries)
    _print_usage(usage)
    return 0


def run_pin(args: Namespace) -> int:
    """Pin."""
    from hoist.cli.progress import make_reporter
    from hoist.verbs import cache_pin

    with make_reporter(args.quiet) as progress:
        done = cache_pin(args.target, progress=progress)
    if args.json:
        document = {"target": args.target, "files": done.files, "size_bytes": done.size}
        print_json({**document, "fetched_bytes": done.fetched_bytes, "seconds": done.seconds})
    else:
        fetched = f", {show_size(done.fetched_bytes)} fetched" if done.fetched_bytes else ""
        amount = f"{show_count(done.files, 'file')}, {show_size(done.size)}"
        print(printable(f"pinned {args.target}: {amount}{fetched}"))
    return 0


def run_unpin(args: Namespace) -> int:
    """Unpin."""
    from hoist.verbs import cache_unpin

    _print_done("unpinned", args, cache_unpin(args.target))
    return 0


def run_drop(args: Namespace) -> int:
    """Drop."""
    from hoist.errors import UsageError
    from hoist.verbs import cache_drop

    if (args.target is None) != args.all:
        raise UsageError("name what to drop from the cache, or --all for everything in it")
    _print_done("dropped", args, cache_drop(args.target, force=args.force))
    return 0


def run_verify(args: Namespace) -> int:
    """Verify the cache; damage is printed and is exit code 7."""
    from hoist.cli.progress import make_reporter
    from hoist.errors import DamagedBlock
    from hoist.verbs import cache_verify

    with make_reporter(args.quiet) as progress:
        found = cache_verify(args.target, progress=progress)
    if args.json:
        print_json(_verified(found))
    else:
        _print_verified(found)
    return DamagedBlock.exit_code if found.damaged else 0


def run_limit(args: Namespace) -> int:
    """Show or set the limit."""
    from hoist.verbs import cache_limit

    usage = cache_limit(args.size)
    if args.json:
        print_json(_usage(usage))
    else:
        _print_usage(usage)
    return 0


def _print_done(what: str, args: Namespace, entries: Sequence[CacheEntry]) -> None:
    if args.json:
        print_json(
            {"target": args.target, "files": len(entries), "disk_bytes": sum(each.disk_bytes for each in entries)}
        )
        return
    amount = f"{show_count(len(entries), 'file')}, {show_size(sum(each.disk_bytes for each in entries))}"
    print(printable(f"{what} {args.target or 'everything'}: {amount}"))


def _entry(entry: CacheEntry) -> dict[str, object]:
    return {
        "digest": entry.digest,
        "seen_as": entry.seen_as,
        "size_bytes": entry.size,
        "held_bytes": entry.held_bytes,
        "disk_bytes": entry.disk_bytes,
        "complete": entry.complete,
        "pinned": entry.pinned,
        "in_use": entry.in_use,
        "last_use": entry.last_use,
    }


def _print_entries(entries: Sequence[CacheEntry]) -> None:
    import time

    now = time.time()
    rows = []
    for entry in entries:
        state = [word for word, wanted in (("pinned", entry.pinned), ("in use", entry.in_use)) if wanted]
        held = show_size(entry.held_bytes) if not entry.complete else "whole"
        age = show_seconds(max(0.0, now - entry.last_use), whole=True)
        names = entry.seen_as or ("",)
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        rows.append((names[-1] + more, show_size(entry.size), held, age, ", ".join(state), short_digest(entry.digest)))
    print_table(("FILE", ">SIZE", ">HELD", ">LAST USE", "STATE", "DIGEST"), rows)


def _usage(usage: CacheUsage) -> dict[str, object]:
    return {
        "folder": str(usage.folder),
        "disk_bytes": usage.disk_bytes,
        "limit_bytes": usage.limit_bytes,
        "limit_source": usage.limit_source,
    }


def _print_usage(usage: CacheUsage) -> None:
    limit = f"{show_size(usage.limit_bytes)} ({_LIMITS[usage.limit_source]})"
    print(printable(f"{usage.folder} holds {show_size(usage.disk_bytes)}; limit {limit}"))


def _verified(found: CacheVerified) -> dict[str, object]:
    return {
        "ok": not found.damaged,
        "files": found.files,
        "blocks": found.blocks,
        "read_bytes": found.bytes_read,
        "seconds": found.seconds,
        "damaged": [{"file": item.file, "begin": item.begin, "end": item.end} for item in found.damaged],
    }


def _print_verified(found: CacheVerified) -> None:
    amount = f"{show_count(found.files, 'file')}, {show_count(found.blocks, 'block')}, {show_size(found.bytes_read)}"
    print(f"{amount} read and checked in {show_seconds(found.seconds)} ({show_rate(found.bytes_read, found.seconds)})")
    if not found.damaged:
        print("every block is right")
        return
    rows = [(item.file, str(item.begin), str(item.end), show_size(item.end - item.begin)) for item in found.damaged]
    print_table(("DAMAGED, NOW DROPPED", ">FROM BYTE", ">TO BYTE", ">SIZE"), rows)
    print("they are fetched again when they are wanted; more than one over time means a disk or memory that fails")
