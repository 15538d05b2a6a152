"""Timing the steps of something: seconds and peak memory of each, as records."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hoist.bench.machine import machine_facts
from hoist.bench.measuring import reset_peak, status_bytes
from hoist.bench.records import make_record
from hoist.progress import Progress


class Steps:
    """Makes a record of each step. Peak memory is the process's, above what it had when the first step began.

    `about` is what all records of this benchmark have in common.
    """

    def __init__(self, bench: str, about: Mapping[str, Any], progress: Progress) -> None:
        self.records: list[dict[str, Any]] = []
        self._bench = bench
        self._about = dict(about)
        self._progress = progress
        self._machine = machine_facts()
        gc.collect()
        self._floor = status_bytes("VmRSS")

    @contextmanager
    def step(self, name: str, **more: Any) -> Iterator[dict[str, Any]]:
        """Time the body; what it adds to the dictionary goes into the record."""
        values: dict[str, Any] = dict(more)
        self._progress.begin(name, 0)
        gc.collect()
        reset_peak()
        cpu, began = time.process_time(), time.perf_counter()
        yield values
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        peak = max(0, status_bytes("VmHWM") - self._floor)
        self._progress.end()
        figures = {"step": name, "seconds": seconds, "cpu_seconds": used, "peak_bytes": peak}
        self.records.append(make_record(self._bench, self._machine, self._about | figures | values))
