"""`mount.hoist`: what mount(8) and /etc/fstab run for the type `hoist`, as `mount.hoist STORAGE,... FOLDER [-o ...]`.

Several storages are one word with commas between them. The options of `hoist mount` are -o options here.
"""

from __future__ import annotations

import argparse
import sys

_USAGE = 1
_FAILED = 32


def main() -> int:
    """Mount in the background, in the words of mount(8); its exit codes: 0, 1 for wrong options, 32 for a failure."""
    parser = argparse.ArgumentParser(prog="mount.hoist", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("storages", metavar="STORAGE,...")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="OPTION,...")
    for flag in ("-s", "-f", "-n", "-v", "-w", "-r"):
        # Sloppy, fake, no mtab, verbose, read-write, read-only: mount(8) passes them to every helper.
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-t", "-N", dest="rest", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.f:
        return 0
    from hoist.cli.entry import main as run

    # mount(8) says `rw` unless fstab says `ro`: nobody has asked for it.
    options = ",".join(word for text in args.options for word in text.split(",") if word != "rw")
    words = ["mount", *args.storages.split(","), args.folder, "--daemon", *(["-o", options] if options else [])]
    # The process in the background is started with the same words.
    sys.argv = ["hoist", *words]
    code = run(words)
    return 0 if code == 0 else _USAGE if code == 2 else _FAILED
