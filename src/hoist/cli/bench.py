"""The verb group that measures: `bench fixtures`, and what else is added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli import (
    catalog,
    compare,
    compare_copy,
    compare_failover,
    compare_fleet,
    compare_function,
    compare_images,
    compare_mounts,
    compare_sync,
    herd,
    measure,
)
from hoist.cli.parser import Root, add_command, add_json, add_quiet, completes
from hoist.cli.text import print_json, print_table, printable, show_size

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from hoist.bench.fixtures import Fixture
    from hoist.cli.parser import Commands

GROUP = "measure"


def add_to(root: Root) -> None:
    """Add the verbs of this group. A new command of `bench` is one `_add_...(commands)` more."""
    parser = root.add_verb(GROUP, "bench", None, "Build test models and measure with them")
    commands: Commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_fixtures(commands)
    measure.add_switch(commands)
    compare.add_load(commands)
    compare.add_suite(commands)
    compare.add_publish(commands)
    compare_mounts.add_mount(commands)
    compare_images.add_image(commands)
    compare_fleet.add_accelerator(commands)
    herd.add_herd(commands)
    compare_fleet.add_fleet(commands)
    compare_fleet.add_nfs(commands)
    compare_function.add_function(commands)
    compare_copy.add_copy(commands)
    compare_sync.add_sync(commands)
    compare_failover.add_failover(commands)
    compare.add_profile(commands)
    compare.add_targets(commands)
    measure.add_table(commands)
    catalog.add_catalog(commands)
    measure.add_to(root)


def _add_fixtures(commands: Commands) -> None:
    parser = add_command(
        commands,
        "fixtures",
        run_fixtures,
        "Build the ten checkpoints of the model-switch experiment, with random weights",
        about="Names, shapes and dtypes are the real ones; --scale makes them narrower. What is there is kept.",
        examples=(
            "hoist bench fixtures --list",
            "hoist bench fixtures ./fixtures --scale 0.25 --only anything-v5.0 --only pastelmix",
        ),
    )
    folder = parser.add_argument("folder", metavar="FOLDER", nargs="?", help="where to build; made if missing")
    completes(folder, "folder")
    add = parser.add_argument
    add("--scale", type=float, default=1.0, metavar="S", help="width of the layers, above 0 to 1 (default: 1)")
    add("--only", action="append", default=[], metavar="NAME", help="only this model or file (may be repeated)")
    add("--list", action="store_true", help="show them, build nothing")
    add_quiet(parser)
    add_json(parser)


def run_fixtures(args: Namespace) -> int:
    """Build or list the fixtures."""
    from pathlib import Path

    from hoist.errors import UsageError

    if not 0 < args.scale <= 1:
        raise UsageError(f"--scale is above 0 and at most 1, not {args.scale:g}")
    chosen = choose_fixtures(args.only)
    if args.list:
        _show(chosen, args.scale, {}, args.json)
        return 0
    if args.folder is None:
        raise UsageError("say where to build: hoist bench fixtures FOLDER (or --list to see them)")
    _show(chosen, args.scale, _build(chosen, Path(args.folder), args.scale, args.quiet), args.json)
    return 0


def choose_fixtures(names: list[str]) -> list[Fixture]:
    """The fixtures named by model, by the last part of it, or by file. Raises UsageError with the nearest."""
    from hoist.bench.fixtures import FIXTURES
    from hoist.errors import UsageError

    known = {
        name: fixture
        for fixture in FIXTURES
        for name in (fixture.model.rpartition("/")[2], fixture.model, fixture.file_name)
    }
    for name in names:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, 1, 0.4)
            mend = f"did you mean {near[0]}?" if near else "see: hoist bench fixtures --list"
            raise UsageError(f"there is no fixture {name!r}; {mend}")
    wanted = {known[name].file_name for name in names}
    return [fixture for fixture in FIXTURES if not names or fixture.file_name in wanted]


def _build(chosen: list[Fixture], folder: Path, scale: float, quiet: bool) -> dict[str, Path]:
    from hoist.bench.fixtures import build
    from hoist.cli.progress import make_reporter
    from hoist.read.source import local_error

    built: dict[str, Path] = {}
    with make_reporter(quiet) as progress:
        for fixture in chosen:
            progress.begin(f"building {fixture.file_name}", fixture.size_at(scale))
            try:
                built[fixture.file_name] = build(fixture, folder, scale=scale, on_progress=progress.advance)
            except OSError as error:
                raise local_error(error, folder) from None
            progress.end()
    return built


def _show(chosen: list[Fixture], scale: float, built: dict[str, Path], as_json: bool) -> None:
    sizes = {
        name: built[name].stat().st_size if name in built else fixture.size_at(scale)
        for fixture in chosen
        for name in (fixture.file_name,)
    }
    if as_json:
        found = [
            {
                "file": fixture.file_name,
                "name": fixture.model,
                "version": fixture.version,
                "listed_gib": fixture.listed_gib,
                "size_bytes": sizes[fixture.file_name],
                "path": str(built[fixture.file_name]) if fixture.file_name in built else None,
            }
            for fixture in chosen
        ]
        print_json({"scale": scale, "fixtures": found})
        return
    rows = [
        (
            f"{fixture.model}:{fixture.version}",
            f"{fixture.listed_gib:.2f} GiB",
            show_size(sizes[fixture.file_name]),
            str(built.get(fixture.file_name, fixture.file_name)),
        )
        for fixture in chosen
    ]
    print_table(("FIXTURE", ">LISTED", f">AT SCALE {scale:g}", "FILE"), [[printable(c) for c in row] for row in rows])
    if len(chosen) > 1:
        print(f"together {show_size(sum(sizes.values()))}")
