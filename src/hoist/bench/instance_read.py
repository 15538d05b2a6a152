"""One instance of a herd, as a process: reads and verifies a version when it is told to, and says when it began and ended.

`python -m hoist.bench.instance_read LOCATION`: prints `ready`, waits for a line, prints one JSON document.
"""

from __future__ import annotations

import json
import sys
import time

from hoist import verbs


def main(location: str) -> None:
    """Read it once; times by the clock that all processes of a machine share."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began, used = time.monotonic(), time.process_time()
    damaged = len(verbs.verify(location).damaged)
    found = {"began": began, "ended": time.monotonic(), "cpu": time.process_time() - used, "damaged": damaged}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
