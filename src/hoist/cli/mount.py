"""The verbs of the mount: mount, umount."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_json, completes
from hoist.cli.text import print_json, print_table, printable, show_seconds, warn

if TYPE_CHECKING:
    from argparse import Namespace

    from hoist.mount.options import MountOptions

GROUP = "mount"
# Options of this verb that say what -o could say too.
_VALUES = (
    ("threads", "N", "threads that answer the kernel (default: 4)"),
    ("memory", "SIZE", "memory for blocks (default: 256MiB)"),
    ("cache-size", "SIZE", "limit of the host cache (default: as it is)"),
    ("refresh", "SECONDS", "after which new versions and moved tags show up (default: 10)"),
    ("timeout", "SECONDS", "after which a read that the storage does not answer fails (default: 30)"),
    ("read-ahead", "SIZE", "how far the kernel reads ahead (default: 4MiB)"),
    ("uid", "N", "owner of all files (default: this user)"),
    ("gid", "N", "group of all files (default: this user's)"),
    ("umask", "OCTAL", "permissions that files and folders lack (default: 000, so 0444 and 0555)"),
    ("log-file", "FILE", "write the log there"),
    ("metrics", "PORT", "show metrics for Prometheus on this port of 127.0.0.1; 0 finds a free one"),
)
_FLAGS = (
    ("allow-other", "let other users read too"),
    ("no-prefetch", "fetch only what is read"),
    ("no-passthrough", "never let the kernel read whole cached files by itself"),
    ("syslog", "write the log to syslog"),
)


def add_to(root: Root) -> None:
    """Add the verbs of this group."""
    parser = root.add_verb(
        GROUP,
        "mount",
        run_mount,
        "Show storages as a read-only folder",
        about="Every version is a folder NAME/VERSION, every tag a link beside it; with several storages there is a "
        "folder for each. STORAGE//NAME:LABEL shows that version alone (and its tag), also where nothing may be listed. "
        "Runs until it is unmounted or ended by Ctrl-C or SIGTERM; with --daemon in the background.",
        examples=(
            "hoist mount oss /mnt/models",
            "hoist mount nas s3://models /mnt/models --daemon -o allow_other",
            "hoist mount s3://public//sd15/anything:stable /mnt/models",
            "hoist mount --status",
        ),
    )
    what = parser.add_argument(
        "places",
        metavar="STORAGE... MOUNTPOINT",
        nargs="*",
        help="storages, or locations of versions, and last the folder to mount at",
    )
    completes(what, "folder")
    add = parser.add_argument
    add("--daemon", action="store_true", help="go to the background once it can be read")
    add("--status", action="store_true", help="show the mounts of this user instead")
    add("-o", dest="options", action="append", default=[], metavar="OPTION,...", help="options as mount(8) takes them")
    add("--cache", choices=("on", "off"), help="use the host cache (default: on, unless it is configured to be off)")
    for name, about in _FLAGS:
        add(f"--{name}", action="store_true", help=about)
    for name, metavar, about in _VALUES:
        add(f"--{name}", metavar=metavar, help=about)
    add("--ready-fd", type=int, help=SUPPRESS)
    add_json(parser)
    parser = root.add_verb(
        GROUP,
        "umount",
        run_umount,
        "Unmount what hoist mount has mounted",
        examples=("hoist umount /mnt/models",),
        aliases=("unmount",),
    )
    completes(parser.add_argument("point", metavar="MOUNTPOINT", help="the folder"), "folder")
    parser.add_argument("--lazy", action="store_true", help="even if it is in use: what is open goes on")


def run_mount(args: Namespace) -> int:
    """Mount, or show what is mounted."""
    from hoist.errors import UsageError

    if args.status:
        return _show_status(args)
    if len(args.places) < 2:
        raise UsageError("hoist mount wants a storage and a mount point: hoist mount oss /mnt/models")
    if args.json:
        raise UsageError("--json goes with --status")
    from hoist.cli.serving import serve_here, serve_in_background
    from hoist.mount.daemon import MountPlan

    plan = MountPlan(tuple(args.places[:-1]), args.places[-1], options_of(args))
    if args.daemon:
        return serve_in_background(plan)
    return serve_here(plan, args.ready_fd)


def options_of(args: Namespace) -> MountOptions:
    """The options of the command line, over those of -o."""
    from hoist.mount.options import parse_mount_options

    words = [name.replace("-", "_") for name, _ in _FLAGS if getattr(args, name.replace("-", "_"))]
    words += [f"cache={args.cache}"] if args.cache else []
    for name, *_ in _VALUES:
        value = getattr(args, name.replace("-", "_"))
        if value is not None:
            words.append(f"{name.replace('-', '_')}={value}")
    return parse_mount_options([*args.options, *words])


def run_umount(args: Namespace) -> int:
    """Unmount."""
    import os
    from pathlib import Path

    from hoist.config import load_config
    from hoist.mount.daemon import forget_point

    # A dead mount must not be asked anything, so links above it are followed, and not it itself.
    given = Path(os.path.abspath(args.point))  # noqa: PTH100
    point = given.parent.resolve() / given.name
    forget_point(point, lazy=args.lazy, config=load_config())
    print(printable(f"unmounted {point}"))
    return 0


def _show_status(args: Namespace) -> int:
    import time

    from hoist.config import load_config
    from hoist.mount.live import LiveMounts

    found = LiveMounts(load_config().runtime_folder).all()
    if args.json:
        print_json(
            {
                "mounts": [
                    {
                        "point": mount.point,
                        "storages": mount.storages,
                        "pid": mount.pid,
                        "serving": mount.serving,
                        "seconds": time.time() - mount.began,
                        "metrics_port": mount.metrics_port,
                        "log": mount.log or None,
                    }
                    for mount in found
                ]
            }
        )
        return 0
    if not found:
        print("this user has no mounts")
        return 0
    rows = [
        (
            mount.point or "(given descriptor)",
            ", ".join(mount.storages),
            str(mount.pid),
            "serving" if mount.serving else "dead",
            show_seconds(time.time() - mount.began, whole=True),
            str(mount.metrics_port or "-"),
        )
        for mount in found
    ]
    print_table(("MOUNT POINT", "STORAGES", ">PROCESS", "STATE", ">FOR", ">METRICS"), rows)
    for mount in found:
        if not mount.serving:
            warn(f"{mount.point} is dead: hoist mount there again takes it over; hoist umount frees it")
    return 0
