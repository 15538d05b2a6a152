"""Runs as a process of its own: removes a network's namespaces once the Python that made them is gone.

Started by `netns.py` as `python -I -S netns_warden.py IP PREFIX`. Standard input never says anything; its end, which the
kernel brings about however the parent ends, is the signal to act. By then the parent may have removed them itself.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def main(ip: str, prefix: str) -> None:
    """Wait for the end of the input, then remove every namespace whose name begins with `prefix`."""
    sys.stdin.read()
    with suppress(FileNotFoundError):
        for path in sorted(Path("/run/netns").iterdir()):
            if path.name.startswith(f"{prefix}-"):
                subprocess.run([ip, "netns", "del", path.name], capture_output=True, check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
