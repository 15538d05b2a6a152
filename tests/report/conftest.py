"""One page with everything on it, and one browser, for all tests of the report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_making import experiment, herds, write
from report_traces import TRACES

from hoist.config import Config
from hoist.report.verb import write_report
from hoist.testing.browser import Browser


@pytest.fixture(scope="session")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten models from four storages, five runs; a herd; three traces."""
    folder = tmp_path_factory.mktemp("report")
    files = [write(folder / "switch.jsonl", experiment()), write(folder / "herd.jsonl", herds())]
    (folder / "traces.jsonl").write_text("".join(trace.to_json() + "\n" for trace in TRACES))
    made = write_report(files, folder / "report.html", traces=str(folder / "traces.jsonl"), config=Config())
    assert made.records == 812 and made.traces == len(TRACES)
    return made.path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Skip where there is none; fail instead when HOIST_REQUIRE_SERVERS=1, as in CI."""
    reason = Browser.unavailable()
    if reason and os.environ.get("HOIST_REQUIRE_SERVERS") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with Browser() as found:
        yield found
