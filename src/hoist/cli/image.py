"""hoist image: build, update, plan and copy runnable images with models in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoist.cli.image_text import (
    built_document,
    copied_document,
    plan_document,
    print_built,
    print_copied,
    print_plan,
)
from hoist.cli.parser import Parser, Root, add_bandwidth, add_command, add_json, add_quiet
from hoist.cli.text import print_json, warn

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.cli.parser import Commands
    from hoist.image.build import Built

GROUP = "images"
_IMAGE = "HOST/REPOSITORY:TAG, oci-layout:///PATH:TAG or oci-archive:///FILE:TAG"


def add_to(root: Root) -> None:
    """Add the verbs of this group."""
    parser = root.add_verb(
        GROUP,
        "image",
        None,
        "Put models into runnable images without a container engine",
        about="A layer a weight file, uncompressed, under /models: an update sends the changed file and nothing else.",
        examples=(
            "hoist image build --base python:3.12-slim --model oss//sd15/anything:v5 --tag registry.local/sd:v5",
            "hoist image update registry.local/sd:v5 --model oss//sd15/anything:v6 --tag v6",
        ),
    )
    commands: Commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_build(commands)
    _add_update(commands)
    _add_plan(commands)
    _add_copy(commands)


def _add_build(commands: Commands) -> None:
    parser = add_command(
        commands,
        "build",
        run_build,
        "Build an image from a base and models",
        about=(
            f"Images are named {_IMAGE}. Nothing of the base is unpacked or kept here. The same base and models give the "
            "same digest, wherever and whenever they are built."
        ),
        examples=(
            "hoist image build --base python:3.12-slim --model oss//sd15/anything:v5 --tag registry.local/sd:v5",
            "hoist image build --base scratch --model ./models//sd15/anything:v5 --tag oci-layout:///srv/images:v5",
        ),
        resumable=True,
    )
    add = parser.add_argument
    add("--base", default="scratch", metavar="IMAGE", help="the image to build upon (default: scratch, nothing)")
    _add_models(parser, required=True)
    add("--tag", required=True, metavar="IMAGE", help="where the image shall be")
    _add_platform(parser)
    add("--entrypoint", metavar="COMMAND", help="a JSON list, or words for a shell; empty removes the base's")
    add("--cmd", metavar="COMMAND", help="the entry point's arguments, written alike")
    add("--env", action="append", default=[], metavar="KEY=VALUE", help="set a variable (may be repeated)")
    add("--label", action="append", default=[], metavar="KEY=VALUE", help="set a label (may be repeated)")
    add("--workdir", metavar="PATH", help="the working folder")
    add("--user", metavar="USER", help="who runs it, as 1000:1000")
    add(
        "--modelpack", action="store_true", help="also make a ModelPack artifact of the same blobs, under TAG-modelpack"
    )
    _add_compress(parser)
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def _add_update(commands: Commands) -> None:
    parser = add_command(
        commands,
        "update",
        run_update,
        "Replace a model in an image by another version of it",
        about=(
            "Layers of unchanged files stay, changed files are sent, and the base and the other models do not move at "
            "all. Says which signatures are of the image before; they stay with it."
        ),
        examples=("hoist image update registry.local/sd:v5 --model oss//sd15/anything:v6 --tag v6",),
        resumable=True,
    )
    parser.add_argument("target", metavar="TARGET", help="the image")
    _add_models(parser, required=True)
    parser.add_argument("--tag", default="", metavar="TAG", help="put it under this tag (default: TARGET's)")
    _add_compress(parser)
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def _add_plan(commands: Commands) -> None:
    parser = add_command(
        commands,
        "plan",
        run_plan,
        "Show layers, sizes, what would be sent and what platforms allow",
        about=(
            "Takes what build takes, or what update takes, or the location of a version alone. Moves no weights. Exits "
            "with 0 also where a limit is passed: it says what mends that."
        ),
        examples=(
            "hoist image plan oss//sdxl/base:1.0",
            "hoist image plan --base python:3.12-slim --model oss//sd15/anything:v5 --tag registry.local/sd:v5",
            "hoist image plan registry.local/sd:v5 --model oss//sd15/anything:v6",
        ),
    )
    add = parser.add_argument
    add("what", metavar="LOCATION|TARGET", nargs="?", help="a version, or the image that an update would change")
    add("--base", metavar="IMAGE", help="the image to build upon")
    _add_models(parser, required=False)
    add("--tag", default="", metavar="IMAGE", help="where the image would be")
    _add_platform(parser)
    _add_compress(parser)
    add_json(parser)


def _add_copy(commands: Commands) -> None:
    parser = add_command(
        commands,
        "copy",
        run_copy,
        "Copy an image with its signatures; every digest stays",
        about="Blobs are mounted where both lie in one registry, and streamed otherwise, with no copy here.",
        examples=(
            "hoist image copy registry.local/sd:v5 registry.far/sd:v5",
            "hoist image copy registry.local/sd:v5 oci-layout:///media/usb/sd:v5",
        ),
        resumable=True,
    )
    parser.add_argument("source", metavar="SOURCE", help=f"the image, as {_IMAGE}")
    parser.add_argument("target", metavar="TARGET", help="where it shall be")
    add_bandwidth(parser)
    add_quiet(parser)
    add_json(parser)


def _add_models(parser: Parser, *, required: bool) -> None:
    text = "a version, as STORAGE//NAME:VERSION (may be repeated)"
    parser.add_argument("--model", action="append", default=[], required=required, metavar="LOCATION", help=text)


def _add_platform(parser: Parser) -> None:
    text = "of a base that has several, or of scratch, as linux/arm64 (may be repeated; default: all, linux/amd64)"
    parser.add_argument("--platform", action="append", default=[], metavar="PLATFORM", help=text)


def _add_compress(parser: Parser) -> None:
    text = "zstd: smaller to send, not readable by range (default: none)"
    parser.add_argument("--compress", choices=("none", "zstd"), default="none", help=text)


def run_build(args: Namespace) -> int:
    """Build."""
    from hoist.cli.progress import make_reporter
    from hoist.image.editing import Edits, parse_command, parse_pairs
    from hoist.image.verbs import build

    edits = Edits(
        entrypoint=None if args.entrypoint is None else parse_command(args.entrypoint),
        cmd=None if args.cmd is None else parse_command(args.cmd),
        env=parse_pairs(args.env, "variable"),
        labels=parse_pairs(args.label, "label"),
        workdir=args.workdir,
        user=args.user,
    )
    with make_reporter(args.quiet) as progress:
        done = build(
            args.model,
            args.tag,
            base=args.base,
            platforms=args.platform,
            edits=edits,
            modelpack=args.modelpack,
            compress=args.compress,
            progress=progress,
        )
    _show_built(args, "built", done)
    return 0


def run_update(args: Namespace) -> int:
    """Update, and warn of signatures that are of the image before."""
    from hoist.cli.progress import make_reporter
    from hoist.image.verbs import update

    with make_reporter(args.quiet) as progress:
        done = update(args.target, args.model, tag=args.tag, compress=args.compress, progress=progress)
    if done.stale:
        warn(
            f"{', '.join(done.stale)} are of the image before the update, and stay with it: sign {done.address} anew "
            f"({done.digest})"
        )
    _show_built(args, "updated", done)
    return 0


def _show_built(args: Namespace, verb: str, done: Built) -> None:
    if args.json:
        print_json(built_document(done))
    else:
        print_built(verb, done)


def run_plan(args: Namespace) -> int:
    """Plan."""
    from hoist.errors import UsageError
    from hoist.image.verbs import plan
    from hoist.model.reference import looks_like_location

    models, updated = list(args.model), ""
    if args.what and looks_like_location(args.what):
        models.insert(0, args.what)
    elif args.what:
        updated = args.what
    if updated and (args.base or args.platform):
        raise UsageError("an update keeps its base and platforms: leave --base and --platform out, or TARGET")
    if updated and not models:
        raise UsageError(f"{updated} is an image: say which version would go into it, as --model STORAGE//NAME:VERSION")
    done = plan(
        models,
        base=args.base or "scratch",
        tag="" if updated else args.tag,
        update=updated,
        platforms=args.platform,
        compress=args.compress,
    )
    if args.json:
        print_json(plan_document(done))
    else:
        print_plan(done)
    return 0


def run_copy(args: Namespace) -> int:
    """Copy."""
    from hoist.cli.progress import make_reporter
    from hoist.image.verbs import copy

    with make_reporter(args.quiet) as progress:
        done = copy(args.source, args.target, progress=progress)
    if args.json:
        print_json(copied_document(args.source, done))
    else:
        print_copied(args.source, done)
    return 0
