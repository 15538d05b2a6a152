"""`bench image`: Hoist's images beside container tools, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.compare import add_common, check_repeat, check_scale, finish, say_to, teller
from hoist.cli.parser import add_command, completes

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands


def add_image(commands: Commands) -> None:
    """Add `bench image`."""
    parser = add_command(
        commands,
        "image",
        run_image,
        "Compare pushing, pulling, updating and loading images with container tools, here, with a registry of its own",
        about="Each push begins with an empty registry (docker-registry), each pull with an empty folder. Everything\n"
        "lies in a temporary folder, which goes with it: give it a --folder on a disk. A tool that is not installed is\n"
        "named with the reason.",
        examples=("hoist bench image --peer all --record figures.jsonl", "hoist bench image --scale 0.25 --work push"),
    )
    add = parser.add_argument
    works = "push, pull, update, second, load or memory (may be repeated)"
    add("--work", action="append", default=[], metavar="NAME", help=works)
    peers = "skopeo, skopeo-plain, podman, or all (may be repeated)"
    add("--peer", action="append", default=[], metavar="NAME", help=peers)
    add("--scale", type=float, default=1.0, metavar="S", help="size, above 0 to 1 (default: 1, 1 GiB in four files)")
    completes(add("--folder", metavar="FOLDER", help="where everything goes: on the disk that is measured"), "folder")
    add_common(parser)


def run_image(args: Namespace) -> int:
    """Compare images on a registry of the benchmark's own."""
    from pathlib import Path

    from hoist.bench.image import WORKS, Options, run_images
    from hoist.bench.image_tools import choose_tools

    check_repeat(args)
    check_scale(args)
    folder = Path(args.folder) if args.folder else None
    options = Options(args.work or tuple(WORKS), choose_tools(args.peer), args.repeat, args.scale, folder)
    finish(args, run_images(options, teller(args), say_to(args)))
    return 0
