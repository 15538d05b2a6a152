"""The commands that compare Hoist with its peers: `bench load`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hoist.cli.parser import add_command, add_json, add_quiet, completes
from hoist.cli.text import print_json, printable, show_seconds

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from hoist.bench.load import Options
    from hoist.cli.parser import Commands, Parser


def add_load(commands: Commands) -> None:
    """Add `bench load`."""
    parser = add_command(
        commands,
        "load",
        run_load,
        "Compare loads of a version: Hoist, its peers, and the raw limit of where it lies",
        about="Every load is a process of its own, and they take turns. Before anything is timed, each loader's\n"
        "tensors are compared with the file's. Peers come with: pip install 'hoist[peers]'",
        examples=(
            "hoist bench load nas//sd15/anything:v5 --peer safetensors --peer runai --state cold",
            "hoist bench load s3://models//sd15/anything:v5 --peer all --record figures.jsonl",
        ),
    )
    parser.add_argument("locations", metavar="LOCATION", nargs="+", help="versions of one weight file each")
    _add_loads(parser)
    folder = parser.add_argument("--folder", metavar="FOLDER", help="where copies go: on the disk that is measured")
    completes(folder, "folder")
    add_common(parser)


def add_suite(commands: Commands) -> None:
    """Add `bench suite`."""
    parser = add_command(
        commands,
        "suite",
        run_suite,
        "Compare loads here, with fixtures and local servers: a directory, a bucket, a public bucket",
        about="Everything lies in a temporary folder, which goes with it. Peers come with: pip install 'hoist[peers]'",
        examples=("hoist bench suite --peer all", "hoist bench suite --case bucket --scale 0.25 --peer runai"),
    )
    add = parser.add_argument
    add(
        "--case",
        action="append",
        default=[],
        metavar="NAME",
        help="directory, checkpoint, bucket, public, publish, select, small, packs or mount (may be repeated)",
    )
    _add_loads(parser)
    _add_own(parser)
    add_common(parser)


def _add_loads(parser: Parser) -> None:
    add = parser.add_argument
    add("--peer", action="append", default=[], metavar="NAME", help="a peer, or all (may be repeated)")
    add("--state", choices=("cold", "warm", "both"), default="both", help="the page cache before a load (directories)")


def add_publish(commands: Commands) -> None:
    """Add `bench publish`."""
    parser = add_command(
        commands,
        "publish",
        run_publish,
        "Compare publishing a file to a bucket with copy programs and the raw limit of its PUTs",
        about="What is put is compared with the file once for each peer, and removed again.",
        examples=("hoist bench publish model.safetensors s3://models --peer all",),
    )
    completes(parser.add_argument("source", metavar="FILE", help="what to put there"), "file")
    parser.add_argument("storage", metavar="STORAGE", help="a bucket: a name from hoist.toml, or s3://BUCKET/PREFIX")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help="a peer, or all (may be repeated)")
    add_common(parser)


def run_publish(args: Namespace) -> int:
    """Compare publishes to the user's own bucket."""
    from pathlib import Path

    from hoist.bench.peers import UPLOADERS, choose_peers
    from hoist.bench.publish import Options, run_publishes
    from hoist.config import load_config
    from hoist.errors import FileNotFound

    check_repeat(args)
    source = Path(args.source)
    if not source.is_file():
        raise FileNotFound(f"there is no file {source}")
    options = Options(choose_peers(args.peer, UPLOADERS), args.repeat)
    finish(args, run_publishes(source, args.storage, load_config(), options, teller(args)))
    return 0


def add_targets(commands: Commands) -> None:
    """Add `bench targets`."""
    parser = add_command(
        commands,
        "targets",
        run_targets,
        "Show what Hoist shall reach beside what was recorded, and the tables of loads and publishes",
        examples=("hoist bench targets benchmarks/records/*-suite.jsonl --markdown benchmarks/targets.md",),
    )
    completes(parser.add_argument("files", metavar="FILE", nargs="+", help="records, as --record writes them"), "file")
    completes(parser.add_argument("--markdown", metavar="FILE", help="write it to this file instead"), "file")


def run_targets(args: Namespace) -> int:
    """Show the targets and the tables as Markdown."""
    from pathlib import Path

    from hoist.bench.comparison import load_markdown, markdown_table
    from hoist.bench.herd_table import herd_markdown
    from hoist.bench.image_table import image_markdown
    from hoist.bench.mount_table import mount_markdown
    from hoist.bench.records import read_records
    from hoist.bench.targets import HEADINGS, target_rows

    records = [record for file in args.files for record in read_records(Path(file))]
    lines = [*markdown_table(HEADINGS, target_rows(records)), "", *load_markdown(records)]
    lines += [*mount_markdown(records), *image_markdown(records), *herd_markdown(records)]
    if args.markdown:
        write_text(args.markdown, ["# Targets, and what was measured", "", *_origin(records), "", *lines])
    else:
        print("\n".join(map(printable, lines)))
    return 0


def _origin(records: Sequence[dict[str, Any]]) -> list[str]:
    """When and on what the records were made."""
    found = {(r["date"][:10], r["machine"]["cpu"], r["machine"]["cores"], r["machine"]["kernel"]) for r in records}
    return [
        f"{date}: {cpu}, {cores} cores, Linux {kernel}; the servers run on the same cores."
        for date, cpu, cores, kernel in sorted(found)
    ]


def add_profile(commands: Commands) -> None:
    """Add `bench profile`."""
    parser = add_command(
        commands,
        "profile",
        run_profile,
        "Show where each CPU second of a load goes: by the engine's stages, and by perf where it can record",
        about="Without a LOCATION it makes a model and storages of its own: a directory, a bucket, a public bucket.",
        examples=("hoist bench profile s3://models//sd15/anything:v5 --markdown profile.md",),
    )
    add = parser.add_argument
    add("locations", metavar="LOCATION", nargs="*", help="versions of one weight file each")
    add("--state", choices=("cold", "warm"), default="cold", help="the page cache before (directories)")
    _add_own(parser)
    completes(add("--markdown", metavar="FILE", help="write it to this file instead"), "file")
    add_quiet(parser)


def run_profile(args: Namespace) -> int:
    """Profile loads, and show them as Markdown."""
    from pathlib import Path

    from hoist.bench.profile import profile_load, profile_markdown
    from hoist.bench.suite import run_profiles
    from hoist.config import load_config

    check_scale(args)
    if args.locations:
        config = load_config()
        found = [profile_load(place, config, args.state) for place in args.locations]
    else:
        found = run_profiles(args.scale, args.server, Path(args.folder) if args.folder else None, say_to(args))
    lines = [line for profile in found for line in [*profile_markdown(profile), ""]]
    if args.markdown:
        write_text(args.markdown, ["# Where the CPU seconds of a load go", "", *lines])
    else:
        print("\n".join(map(printable, lines)))
    return 0


def _add_own(parser: Parser) -> None:
    add = parser.add_argument
    add("--scale", type=float, default=1.0, metavar="S", help="width of the layers, above 0 to 1 (default: 1, 2 GiB)")
    add("--server", default="radosgw", metavar="NAME", help="who serves the bucket: radosgw, rclone or moto")
    completes(add("--folder", metavar="FOLDER", help="where copies go: on the disk that is measured"), "folder")


def check_scale(args: Namespace) -> None:
    """Raise UsageError for a scale that is none."""
    from hoist.errors import UsageError

    if not 0 < args.scale <= 1:
        raise UsageError(f"--scale is above 0 and at most 1, not {args.scale:g}")


def add_common(parser: Parser, repeat: int = 3) -> None:
    """The options of every comparison."""
    add = parser.add_argument
    shown = f"runs, of which medians are shown (default: {repeat})"
    add("--repeat", type=int, default=repeat, metavar="N", help=shown)
    completes(add("--record", metavar="FILE", help="append the records to this file, as JSON lines"), "file")
    completes(add("--markdown", metavar="FILE", help="write the tables to this file too, as Markdown"), "file")
    add_quiet(parser)
    add_json(parser)


def run_load(args: Namespace) -> int:
    """Compare loads on the user's own storages."""
    from hoist.bench.load import run_loads
    from hoist.config import load_config

    options, config = _options(args), load_config()
    records = [record for place in args.locations for record in run_loads(place, config, options, teller(args))]
    finish(args, records)
    return 0


def run_suite(args: Namespace) -> int:
    """Compare loads on storages of the benchmark's own."""
    from hoist.bench.suite import USUAL, Suite
    from hoist.bench.suite import run_suite as run

    check_scale(args)
    suite = Suite(args.case or USUAL, args.scale, args.server, _options(args))
    finish(args, run(suite, teller(args), say_to(args)))
    return 0


def _options(args: Namespace) -> Options:
    from pathlib import Path

    from hoist.bench.load import COLD, WARM, Options
    from hoist.bench.peers import choose_peers

    check_repeat(args)
    states = (COLD, WARM) if args.state == "both" else (args.state,)
    return Options(choose_peers(args.peer), args.repeat, states, Path(args.folder) if args.folder else None)


def say_to(args: Namespace) -> Callable[[str], None]:
    """Says each step on standard error, unless it shall be quiet."""
    return (lambda line: None) if args.quiet else _say


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def check_repeat(args: Namespace) -> None:
    """Raise UsageError for a count of runs that is none."""
    from hoist.errors import UsageError

    if args.repeat < 1:
        raise UsageError(f"--repeat is 1 or more, not {args.repeat}")


def teller(args: Namespace) -> Any:
    """Takes each record as it comes: to the file of --record, and to standard error in words."""
    from pathlib import Path

    from hoist.bench.herd_table import herd_line
    from hoist.bench.image_table import image_line
    from hoist.bench.mount_table import mount_line
    from hoist.bench.records import append_records

    def tell(record: dict[str, Any]) -> None:
        # At once: a comparison takes long, and what ends it early shall not take its records along.
        if args.record:
            append_records(Path(args.record), [record])
        if args.quiet:
            return
        if record["bench"] == "mount":
            line = mount_line(record)
        elif record["bench"] == "image":
            line = image_line(record)
        elif record["bench"] == "herd":
            line = herd_line(record)
        elif "skipped" in record:
            line = f"{record['loader']}: not measured: {record['skipped']}"
        elif record["bench"] == "select":
            line = f"{record['selection']}: {record['read_bytes'] / record['asked_bytes']:.2f} x what was asked"
        elif record["bench"] not in ("limit", "load", "publish"):
            line = f"{record['bench']}: done"
        elif record["bench"] == "limit":
            line = f"{record['state']} limit: {record['bytes_per_second'] / 1e6:,.0f} MB/s"
        else:
            line = f"{record['state']} {record['loader']}: {show_seconds(record['seconds'])}"
        _say(printable(line))

    return tell


def finish(args: Namespace, records: list[dict[str, Any]]) -> None:
    """Show the tables or the JSON."""
    from hoist.bench.comparison import load_markdown, load_tables
    from hoist.bench.herd_table import herd_markdown, herd_tables
    from hoist.bench.image_table import image_markdown, image_tables
    from hoist.bench.mount_table import mount_markdown, mount_tables

    if args.markdown:
        lines = [*load_markdown(records), *mount_markdown(records), *image_markdown(records), *herd_markdown(records)]
        write_text(args.markdown, lines)
    if args.json:
        print_json(records)
        return
    tables = [*load_tables(records), *mount_tables(records), *image_tables(records), *herd_tables(records)]
    print("\n".join(printable(line) if line else line for line in ["", *tables]))


def write_text(file: str, lines: Sequence[str]) -> None:
    """Write a document. Raises PermissionDenied, LocalError."""
    from pathlib import Path

    from hoist.read.source import local_error

    try:
        Path(file).write_text("\n".join(lines) + "\n")
    except OSError as error:
        raise local_error(error, Path(file)) from None
