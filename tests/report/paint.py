"""How large the page of 10 models x 4 storages x 5 runs is, and when a browser first paints it.

`python tests/report/paint.py` prints one record: bytes, seconds to make it, and of several loads the seconds from navigation
to the first contentful paint, as the browser's own performance entries have them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from report_making import experiment, herds, write

from hoist.bench.machine import machine_facts
from hoist.bench.records import make_record
from hoist.config import Config
from hoist.report.verb import write_report
from hoist.testing.browser import Browser

PAINT = """new Promise(done => {
  const look = () => {
    const found = performance.getEntriesByName("first-contentful-paint");
    found.length ? done(found[0].startTime) : setTimeout(look, 20);
  };
  look();
})"""
LOADS = 7


def main() -> None:
    """Measure, and print the record."""
    with tempfile.TemporaryDirectory() as name, Browser() as browser:
        folder = Path(name)
        files = [write(folder / "switch.jsonl", experiment()), write(folder / "herd.jsonl", herds())]
        began = time.monotonic()
        made = write_report(files, folder / "report.html", config=Config())
        seconds = time.monotonic() - began
        paints = []
        for width in [1280, 390] * LOADS:
            browser.open(made.path.as_uri(), width=width)
            paints.append((width, browser.run(PAINT)))
        version = browser.run("navigator.userAgent").rsplit("Chrome/", 1)[-1].split(" ")[0]
    values = {
        "size": made.size,
        "records_in_page": made.records,
        "make_seconds": seconds,
        "browser": f"Chromium {version}, headless",
        "paint_seconds": {
            str(width): [round(each / 1000, 3) for at, each in paints if at == width] for width in (1280, 390)
        },
        "median_paint_seconds": median(each for _, each in paints) / 1000,
    }
    sys.stdout.write(json.dumps(make_record("report", machine_facts(), values), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
