"""The verb that shows what the advisor goes by: facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_command, add_json, completes
from hoist.cli.text import print_json, print_table, printable, show_count

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence
    from datetime import date

    from hoist.advise.facts import Fact, Facts
    from hoist.cli.parser import Parser

GROUP = "advise"


def add_to(root: Root) -> None:
    """Add the verb."""
    parser = root.add_verb(
        GROUP,
        "facts",
        run_list,
        "List the limits, prices and rates that hoist advise goes by, or learn them from measurements",
        about="Each has its unit, source, date and certainty. Yours go over those that are shipped: in hoist.toml under\n"
        "[facts], in a file (--facts), or one by one (--fact). Without a command it lists.",
        examples=(
            "hoist facts list nas",
            "hoist facts show function-compute.nas.performance.rate",
            "hoist facts learn figures.jsonl -o mine.toml",
        ),
    )
    parser.set_defaults(pattern="", unverified=False, json=False, facts=[])
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_list(
        add_command(commands, "list", run_list, "List facts", examples=("hoist facts list", "hoist facts list oss"))
    )
    show = add_command(
        commands, "show", run_show, "Show one fact, as a file has it", examples=("hoist facts show gpu.cu-price",)
    )
    show.add_argument("id", metavar="ID", help="the fact, as list shows it")
    add_facts(show)
    add_json(show)
    _add_learn(
        add_command(
            commands,
            "learn",
            run_learn,
            "Make facts of what hoist bench has recorded here",
            about="switch, image and accelerator tell what one instance draws, herd what all together, load what a plain\n"
            "loader takes.",
            examples=("hoist facts learn figures.jsonl -o mine.toml", "hoist advise --size 4GiB --facts mine.toml"),
        )
    )


def _add_list(parser: Parser) -> None:
    parser.add_argument("pattern", metavar="TEXT", nargs="?", default="", help="only those with this in their id")
    parser.add_argument(
        "--unverified", action="store_true", help="only those seen at second hand, or read more than a year ago"
    )
    add_facts(parser)
    add_json(parser)


def _add_learn(parser: Parser) -> None:
    completes(parser.add_argument("records", metavar="RECORDS", nargs="+", help="files that --record wrote"), "file")
    completes(parser.add_argument("-o", "--output", metavar="FILE", help="where they go (default: shown)"), "file")
    text = "whose facts they replace: function-compute (default) or generic"
    parser.add_argument("--platform", default="function-compute", metavar="NAME", help=text)
    add_json(parser)


def add_facts(parser: Parser) -> None:
    """The option of every verb that goes by facts."""
    text = "facts over those that are shipped: a TOML file, or records of hoist bench; may be repeated"
    completes(parser.add_argument("--facts", action="append", default=[], metavar="FILE", help=text), "file")


def run_list(args: Namespace) -> int:
    """List facts; what should be checked is marked."""
    from datetime import date

    today = date.today()
    found = [fact for fact in _facts(args) if args.pattern in fact.id]
    if args.unverified:
        found = [fact for fact in found if _mark(fact, today)]
    if args.json:
        from hoist.advise.document import fact_document

        print_json({"facts": [{**fact_document(fact), "old": fact.is_old(today)} for fact in found]})
    else:
        _print_list(found, today)
    return 0


def _facts(args: Namespace) -> Facts:
    from hoist.advise.verb import all_facts

    return all_facts(args.facts)


def _mark(fact: Fact, today: date) -> str:
    marks = ["unverified"] if fact.certainty == "unverified" else []
    return ", ".join(marks + ["old"] * fact.is_old(today))


def _print_list(found: Sequence[Fact], today: date) -> None:
    print_facts(found)
    doubtful = sum(bool(_mark(fact, today)) for fact in found)
    print(
        f"{chr(10) if found else ''}{show_count(len(found), 'fact')}, {doubtful} of them unverified or older than a year"
    )


def print_facts(found: Iterable[Fact]) -> None:
    """A table of facts, what they are of as headings, and what should be checked marked."""
    from datetime import date

    today = date.today()
    groups: dict[str, list[Fact]] = {}
    for fact in sorted(found, key=lambda fact: fact.id):
        groups.setdefault(fact.id.partition(".")[0], []).append(fact)
    rows = []
    for name, group in groups.items():
        rows.append((f"{name}.", "", "", ""))
        for fact in group:
            certainty = _mark(fact, today) or fact.certainty
            rows.append((f"  {fact.id.partition('.')[2]}", fact.shown, certainty, fact.read))
    if rows:
        print_table(("FACT", ">VALUE", "CERTAINTY", "READ"), rows)


def run_show(args: Namespace) -> int:
    """One fact, as a file has it: it can be copied, changed, and given with --facts."""
    from hoist.advise.document import fact_document
    from hoist.advise.learn import facts_toml

    fact = _facts(args).fact(args.id)
    if args.json:
        print_json(fact_document(fact))
    else:
        print(facts_toml([fact]), end="")
    return 0


def run_learn(args: Namespace) -> int:
    """Facts of records: shown as a file, or written to one."""
    from pathlib import Path

    from hoist.advise.document import fact_document
    from hoist.advise.learn import facts_toml, learn
    from hoist.advise.scenario import PLATFORMS
    from hoist.errors import UsageError

    if args.platform not in PLATFORMS:
        raise UsageError(f"--platform {args.platform}: there are {', '.join(PLATFORMS)}")
    found = learn([Path(name) for name in args.records], args.platform)
    text = facts_toml(found.facts)
    if args.output:
        _write(Path(args.output), text)
    if args.json:
        print_json({"facts": [fact_document(fact) for fact in found.facts], "records": found.used})
    elif args.output:
        print_table(("FACT", ">VALUE", "FROM"), [(fact.id, fact.shown, fact.source) for fact in found.facts])
        print()
        print(printable(f"hoist advise goes by them with --facts {args.output}"))
    else:
        print(text, end="")
    return 0


def _write(path: object, text: str) -> None:
    from pathlib import Path

    from hoist.errors import LocalError

    assert isinstance(path, Path)
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
