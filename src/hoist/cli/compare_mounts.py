"""`bench mount`: Hoist's mount beside others, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.compare import add_common, check_repeat, check_scale, finish, say_to, teller
from hoist.cli.parser import add_command, completes

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands


def add_mount(commands: Commands) -> None:
    """Add `bench mount`."""
    parser = add_command(
        commands,
        "mount",
        run_mount,
        "Compare hoist mount with other mounts of the same bucket, here, with files and a server of its own",
        about="Each work begins with a fresh mount that kept nothing; what the server sent is its own count. Everything\n"
        "lies in a temporary folder, which goes with it: give it a --folder on a disk. A mount that is not installed is\n"
        "named with the reason.",
        examples=("hoist bench mount --peer all --record figures.jsonl", "hoist bench mount --scale 0.25 --work read"),
    )
    add = parser.add_argument
    add("--work", action="append", default=[], metavar="NAME", help="read, load, mmap, small or herd (may be repeated)")
    add(
        "--peer",
        action="append",
        default=[],
        metavar="NAME",
        help="rclone, rclone-full, rclone-streams, s3fs, mount-s3, or all (may be repeated)",
    )
    add("--scale", type=float, default=1.0, metavar="S", help="width of the layers, above 0 to 1 (default: 1, 2 GiB)")
    add("--small", type=int, default=10_000, metavar="N", help="small files, of 100 KB (default: 10,000)")
    add("--patience", type=float, default=20.0, metavar="SECONDS", help="after which a work is given up (default: 20)")
    completes(add("--folder", metavar="FOLDER", help="where everything goes: on the disk that is measured"), "folder")
    add_common(parser)


def run_mount(args: Namespace) -> int:
    """Compare mounts on storages of the benchmark's own."""
    from pathlib import Path

    from hoist.bench.mount import WORKS, Options, choose_mounters
    from hoist.bench.mount_stage import run_mount_bench
    from hoist.bench.works import check_works
    from hoist.errors import UsageError

    check_repeat(args)
    check_scale(args)
    if args.patience <= 0:
        raise UsageError(f"--patience is above 0, not {args.patience:g}")
    check_works(args.work, WORKS)
    options = Options(args.work or tuple(WORKS), choose_mounters(args.peer), args.repeat, args.patience)
    folder = Path(args.folder) if args.folder else None
    finish(args, run_mount_bench(args.scale, args.small, folder, options, teller(args), say_to(args)))
    return 0
