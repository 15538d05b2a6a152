"""The commands that measure a switch of models: `bench switch` on storages that are there, `demo` on its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hoist.cli.parser import Parser, Root, add_command, add_json, add_quiet, completes
from hoist.cli.progress import make_reporter
from hoist.cli.text import print_json, show_count, show_seconds, show_size

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from hoist.bench.demo import Demo
    from hoist.bench.switch import Options
    from hoist.cli.parser import Commands

GROUP = "measure"
DEMO_REPORT = "hoist-demo-report.html"


def add_to(root: Root) -> None:
    """Add `demo`."""
    parser = root.add_verb(
        GROUP,
        "demo",
        run_demo,
        "Do the main job here, with local servers: publish, load, time the switch",
        about="Everything lies in a temporary folder, which goes with the demo. At scale 1 the models have\n"
        "their real sizes, 40.6 GiB together: choose some with --only.",
        examples=("hoist demo", "hoist demo --scale 1 --only anything-v5.0 --repeat 3 --record figures.jsonl"),
    )
    add = parser.add_argument
    add("--scale", type=float, metavar="S", help="width of the layers, above 0 to 1 (default: 0.2)")
    add("--only", action="append", default=[], metavar="NAME", help="only this model or file (may be repeated)")
    add(
        "--server", metavar="NAME", help="rclone, radosgw or moto (default: radosgw where it is installed, else rclone)"
    )
    completes(add("--folder", metavar="FOLDER", help="where to put the temporary folder"), "folder")
    text = "write the page of what was measured to this file (default: hoist-demo-report.html; with --json none)"
    completes(add("--report", metavar="FILE", help=text), "file")
    _add_common(parser)


def add_switch(commands: Commands) -> None:
    """Add `bench switch`."""
    parser = add_command(
        commands,
        "switch",
        run_switch,
        "Time the first and second switch to each model of a storage, beside a plain loader",
        about="Each loader is a process of its own. Before a first switch the page cache is emptied of the\n"
        "model's file, and that is checked; the storage's raw limit is measured in the same run.",
        examples=(
            "hoist bench switch nas oss --repeat 5 --record figures.jsonl",
            "hoist bench switch nas --model sd15/anything --access tensors --no-hash",
            "hoist bench switch nas oss --function --record figures.jsonl",
        ),
    )
    add = parser.add_argument
    add("storages", metavar="STORAGE", nargs="+", help="what to measure: names, URLs or paths")
    add("--model", action="append", default=[], metavar="NAME", help="only this model (may be repeated)")
    served = add("--served-from", metavar="FOLDER", help="where a local server keeps a bucket's objects as files")
    completes(served, "folder")
    _add_common(parser)


def add_table(commands: Commands) -> None:
    """Add `bench table`."""
    parser = add_command(
        commands,
        "table",
        run_table,
        "Show the table of recorded switches",
        examples=("hoist bench table benchmarks/records/*.jsonl",),
    )
    completes(parser.add_argument("files", metavar="FILE", nargs="+", help="records, as --record writes them"), "file")


def _add_common(parser: Parser) -> None:
    add = parser.add_argument
    add("--no-hash", action="store_true", help="spare the plain loader the whole-file hash of a first load")
    add("--access", choices=("sequential", "tensors"), default="sequential", help="whole files, or tensor by tensor")
    add("--mounted", action="store_true", help="load from buckets through hoist mount and the host cache too")
    add("--function", action="store_true", help="switch a served function, over HTTP, until its response")
    add("--repeat", type=int, default=1, metavar="N", help="runs, of which medians are shown (default: 1)")
    completes(add("--record", metavar="FILE", help="append the records to this file, as JSON lines"), "file")
    add_quiet(parser)
    add_json(parser)


def run_demo(args: Namespace) -> int:
    """Run the demo and show its table."""
    from pathlib import Path

    from hoist.bench.demo import DEFAULT_SCALE
    from hoist.bench.demo import run_demo as run
    from hoist.cli.bench import choose_fixtures
    from hoist.errors import UsageError

    scale = DEFAULT_SCALE if args.scale is None else args.scale
    if not 0 < scale <= 1:
        raise UsageError(f"--scale is above 0 and at most 1, not {scale:g}")
    _check_report(args.report)
    with make_reporter(args.quiet) as progress:
        demo = run(
            scale=scale,
            server=args.server,
            folder=Path(args.folder) if args.folder else None,
            fixtures=choose_fixtures(args.only),
            options=_options(args),
            function=args.function,
            progress=progress,
            say=(lambda line: None) if args.quiet else _say,
        )
    _finish(args, demo.records, {} if scale == 1 else demo.real_sizes)
    report = _report(args.report, demo.records, wanted=not args.json)
    if not args.json:
        _show_rest(demo, report)
    return 0


def _check_report(file: str | None) -> None:
    """Before the work rather than after it: whether a page that was asked for can be made."""
    from pathlib import Path

    from hoist.errors import UsageError

    if file is None:
        return
    from hoist.report.drawing import check_library

    check_library()
    if not Path(file).parent.is_dir():
        raise UsageError(f"--report {file}: there is no folder {Path(file).parent}")


def _report(file: str | None, records: list[dict[str, Any]], *, wanted: bool) -> str:
    """Write the demo's page, and say where it is; one that nobody asked for by name is no reason to fail."""
    import tempfile
    from pathlib import Path

    from hoist.bench.records import append_records
    from hoist.cli.report import said_of
    from hoist.cli.text import warn
    from hoist.config import Config
    from hoist.errors import HoistError
    from hoist.report.verb import write_report

    if file is None and not wanted:
        return ""
    with tempfile.TemporaryDirectory(prefix="hoist-demo-") as folder:
        kept = Path(folder) / "hoist-demo.jsonl"
        append_records(kept, records)
        try:
            return said_of(write_report([kept], file or DEMO_REPORT, config=Config()))
        except HoistError as error:
            if file is not None:
                raise
            warn(f"no page of it: {error}")
            return ""


def run_switch(args: Namespace) -> int:
    """Measure switches on the user's own storages."""
    from pathlib import Path

    from hoist.bench.switch import Target, run_switches
    from hoist.bench.switch_function import run_function_switches
    from hoist.bench.table import is_switch
    from hoist.config import load_config

    served = Path(args.served_from) if args.served_from else None
    targets = [Target(address, served) for address in args.storages]
    options = _options(args, args.model)
    with make_reporter(args.quiet) as progress:

        def note(record: dict[str, Any]) -> None:
            if is_switch(record) and not args.quiet:
                _say(
                    f"{record['storage']} {record['model']} {record['loader']} {record['switch']}: "
                    f"{show_seconds(record['seconds'])}"
                )

        progress.close()
        run = run_function_switches if args.function else run_switches
        records = run(targets, load_config(), options, note)
    _finish(args, records, {})
    return 0


def run_table(args: Namespace) -> int:
    """Show what was recorded, a table a file."""
    from pathlib import Path

    from hoist.bench.fixtures import FIXTURES
    from hoist.bench.records import read_records
    from hoist.bench.table import is_switch, switch_table

    for file in args.files:
        records = list(read_records(Path(file)))
        # A fixture that was recorded at its real size needs no second column for it.
        sizes = {record["file"]: record["size"] / (1 << 30) for record in records if is_switch(record)}
        scaled = {
            f.file_name: f.listed_gib for f in FIXTURES if sizes.get(f.file_name, f.listed_gib) < 0.9 * f.listed_gib
        }
        print("\n".join([*([file, ""] if len(args.files) > 1 else []), *switch_table(records, scaled), ""]))
    return 0


def _finish(args: Namespace, records: list[dict[str, Any]], real_sizes: dict[str, float]) -> None:
    from pathlib import Path

    from hoist.bench.records import append_records
    from hoist.bench.table import switch_table

    if args.record:
        append_records(Path(args.record), records)
    if args.json:
        print_json(records)
        return
    print("\n".join(["", *switch_table(records, real_sizes)]))


def _show_rest(demo: Demo, report: str) -> None:
    from hoist.bench.demo import where_of

    print()
    for storage, published in demo.published.items():
        size, seconds = sum(item.size for item in published), sum(item.seconds for item in published)
        print(
            f"published to {storage} ({where_of(storage, demo.server)}): {show_size(size)} in {show_seconds(seconds)}"
        )
    same = "the same" if demo.same_digests else "NOT the same"
    print(f"each version has {same} digest on all storages; every byte that Hoist loaded was verified")
    print(
        f"done in {show_seconds(demo.seconds)}; {show_count(len(demo.records), 'record')}; nothing else is left behind"
    )
    if report:
        print(f"the page: {report}")
    print(
        "\nnext:\n"
        "  hoist publish MODEL.safetensors /srv/models//my/model:v1   publish a model of your own to a directory\n"
        "  hoist load /srv/models//my/model:v1                        load it, verified, and see where the time goes\n"
        "  hoist bench switch /srv/models                             this table for your own storage\n"
        "  README.md: buckets and hoist.toml; docs/cli.md: all verbs; docs/performance.md: what the figures mean"
    )


def _options(args: Namespace, names: Sequence[str] = ()) -> Options:
    from hoist.bench.switch import Options
    from hoist.errors import UsageError

    if args.function and (args.mounted or args.access != "sequential"):
        raise UsageError("--function goes with neither --mounted nor --access tensors: a function has whole models")
    if args.repeat < 1:
        raise UsageError(f"--repeat is 1 or more, not {args.repeat}")
    return Options(args.repeat, not args.no_hash, args.access, names=names, mounted=args.mounted)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
