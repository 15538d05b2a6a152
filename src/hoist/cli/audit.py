"""The verb that compares storages with what they should hold: audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_bandwidth, add_json, add_quiet
from hoist.cli.text import print_json, printable, show_count, show_seconds, show_size

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.audit.finding import Audit, Finding, Looked

GROUP = "keep in step"
# Of one kind in one storage; --json has all.
_SHOWN = 20


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "audit",
        run_audit,
        "Find what is damaged, missing, stale, left behind or open to others, and repair it",
        about=(
            "Looks at the storages of a plan, and compares them with what it wants; or at those that are named; or at all. "
            "By default 5% of the bytes are read, chosen at random. Exits with 0 if nothing is wrong or all was repaired, "
            "with 1 if something is left."
        ),
        examples=(
            "hoist audit",
            "hoist audit production --sample 2%",
            "hoist audit nas oss --whole --repair",
            "hoist audit s3://models --no-bytes --json",
        ),
    )
    add = parser.add_argument
    text = (
        "a plan ([sync.NAME] of hoist.toml, or a .toml file), or storages; "
        "default: the only plan, or without any all storages"
    )
    add("places", metavar="PLAN | STORAGE", nargs="*", help=text)
    how = parser.add_mutually_exclusive_group()
    text = "read so much of each storage: a share of its bytes, as 5%% (16 GiB at most), or a size, as 2GiB"
    how.add_argument("--sample", metavar="SAMPLE", default=None, help=text)
    how.add_argument("--whole", action="store_true", help="read every byte")
    how.add_argument("--no-bytes", action="store_true", help="read no bytes of files: names, sizes and documents only")
    text = "choose the sample by this number: the same one chooses the same blocks again"
    add("--seed", type=int, metavar="N", help=text)
    text = "write over damaged and missing files with what another of these storages has right, and read it again"
    add("--repair", action="store_true", help=text)
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def run_audit(args: Namespace) -> int:
    """Audit; 1 if something is left that counts."""
    from hoist.audit.run import DEFAULT_SAMPLE, audit
    from hoist.cli.progress import make_reporter

    sample = "whole" if args.whole else "none" if args.no_bytes else args.sample or DEFAULT_SAMPLE
    with make_reporter(args.quiet) as progress:
        done = audit(*args.places, sample=sample, seed=args.seed, repair=args.repair, progress=progress)
    if args.json:
        print_json(_document(done))
    else:
        _print(done)
    return 0 if done.clean else 1


def _document(done: Audit) -> dict[str, object]:
    return {
        "clean": done.clean,
        "plan": done.plan or None,
        "sample": done.sample,
        "seed": done.seed,
        "repair": done.repair,
        "seconds": done.seconds,
        "storages": [
            {
                "storage": each.storage,
                "kind": each.kind,
                "versions": each.versions,
                "files": each.files,
                "tags": each.tags,
                "size_bytes": each.size,
                "read_bytes": each.read_bytes,
            }
            for each in done.storages
        ],
        "findings": [_finding(item) for item in done.findings],
    }


def _finding(item: Finding) -> dict[str, object]:
    return {
        "kind": item.kind,
        "severity": item.severity,
        "storage": item.storage,
        "what": item.what,
        "detail": item.detail,
        "mend": item.mend,
        "version": str(item.version) if item.version else None,
        "path": item.path or None,
        "ranges": [{"begin": begin, "end": end} for begin, end in item.spans],
        "repaired": item.repaired,
        "not_repaired": item.not_repaired or None,
    }


def _print(done: Audit) -> None:
    for storage in [*dict.fromkeys(item.storage for item in done.findings)]:
        print(printable(storage))
        mine = [item for item in done.findings if item.storage == storage]
        for kind in dict.fromkeys(item.kind for item in mine):
            _print_kind([item for item in mine if item.kind == kind])
        print()
    for looked in done.storages:
        print(printable(f"looked at {_amount(looked)}"))
    print(_summary(done))


def _print_kind(items: Sequence[Finding]) -> None:
    for item in items[:_SHOWN]:
        state = "repaired" if item.repaired else item.kind
        print(f"  {state:<13} {printable(f'{item.what}: {item.detail}')}")
        if item.not_repaired:
            print(f"{'':<16}not repaired: {printable(item.not_repaired)}")
        if not item.repaired:
            print(f"{'':<16}mend: {printable(item.mend)}")
    if len(items) > _SHOWN:
        print(f"  {'':<13} and {len(items) - _SHOWN} more of this kind: --json has them all")


def _amount(looked: Looked) -> str:
    amount = f"{show_count(looked.versions, 'version')}, {show_count(looked.tags, 'tag')}, {show_size(looked.size)}"
    share = f" ({looked.read_bytes / looked.size:.1%})" if looked.size else ""
    return f"{looked.storage}: {amount}; {show_size(looked.read_bytes)} read and checked{share}"


def _summary(done: Audit) -> str:
    left = [item for item in done.findings if item.left]
    repaired = sum(item.repaired for item in done.findings)
    notes = sum(item.severity == "note" and not item.repaired for item in done.findings)
    parts = [show_count(len(left), "finding") + " left" if left else "nothing is wrong"]
    parts += [f"{repaired} repaired"] if repaired else []
    parts += [show_count(notes, "note")] if notes else []
    seed = "" if done.sample in ("whole", "none") else f", seed {done.seed}"
    return f"{', '.join(parts)} (sample {done.sample}{seed}; {show_seconds(done.seconds)})"
