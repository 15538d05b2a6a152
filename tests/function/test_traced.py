"""Traces of plain loads and of a fleet's instances."""

from __future__ import annotations

from dataclasses import replace

from hoist.fleet.instance import FAILED, LOADED, Instance
from hoist.function.traced import trace_of_instance, trace_of_load
from hoist.tensors.timing import Loaded, Step, Timed

STEPS = (
    Step("network", 0, 0.25),
    Step("fetch", 0.25, 0.5),
    Step("transfer", 0.5, 0.75),
    Step("fetch", 0.75, 2),
    Step("transfer", 2, 3),
    Step("deserialize", 3, 3.5),
)
TIMED = Timed(0.25, 1.5, 1.25, 0.5, 3.5, 2.0, 1000.0, STEPS)
LOAD = Loaded(("a.safetensors",), "safetensors", True, 3, 4096, 1024, 7, TIMED, "sha256:abc", "oss")


def test_a_load_keeps_its_phases_and_the_import_comes_before() -> None:
    trace = trace_of_load("here//m:v1", "cpu", LOAD, import_seconds=1.5)
    assert (trace.kind, trace.model, trace.version, trace.storage_kind) == ("load", "here//m:v1", "sha256:abc", "oss")
    assert (trace.began, trace.seconds) == (998.5, 5.0)
    assert [phase.name for phase in trace.phases] == ["import", "network", "fetch", "transfer", "deserialize"]
    fetch, transfer = trace.phases[2:4]
    assert (fetch.seconds, fetch.bytes, fetch.notes) == (1.5, 4096, ("1.0 KiB asked of the storage",))
    assert (transfer.seconds, transfer.bytes) == (1.25, 0)
    assert (trace.size_bytes, trace.fetched_bytes, trace.device_copied_bytes) == (4096, 4096, 0)


def test_a_load_to_another_device_is_copied_there() -> None:
    trace = trace_of_load("here//m:v1", "cuda:0", LOAD)
    assert [(phase.name, phase.bytes) for phase in trace.phases if phase.bytes] == [("fetch", 4096), ("transfer", 4096)]
    assert (trace.device, trace.device_copied_bytes) == ("cuda:0", 4096)
    assert trace.began == 1000.0


def test_a_local_file_says_that_nobody_verified_it() -> None:
    trace = trace_of_load("./m.safetensors", "cpu", replace(LOAD, verified=False, version="", storage_kind=""))
    (fetch,) = (phase for phase in trace.phases if phase.name == "fetch")
    assert fetch.notes == ("1.0 KiB asked of the file: not verified",)


def test_an_instance_lays_its_phases_one_after_another() -> None:
    phases = {"warmup": 0.5, "fetch+verify": 2.0, "provision": 0.25, "network": 0.0, "import": 1.0}
    instance = Instance(3, "node", LOADED, size=4096, fetched_bytes=1024, phases=phases, seconds=3.75)
    trace = trace_of_instance("here//m:v1", "cuda", 1000.0, instance)
    assert [(span.phase, span.begin, span.end) for span in trace.spans] == [
        ("provision", 0, 0.25),
        ("import", 0.25, 1.25),
        ("fetch", 1.25, 3.25),
        ("warmup", 3.25, 3.75),
    ]
    assert trace.seconds == instance.seconds
    assert "instance 3 on node" in trace.model
    assert (trace.outcome, trace.kind, trace.device_copied_bytes) == ("done", "start", 4096)


def test_an_instance_that_failed_says_why() -> None:
    trace = trace_of_instance("here//m:v1", "cpu", 1000.0, Instance(0, "node", FAILED, error="no such model"))
    assert (trace.outcome, trace.error, trace.spans) == ("failed", "no such model", ())
