"""The experiment through a served function: a request names a model, and its answer's first byte comes after the switch.

The functions are Hoist's, the same without blocks that models share, and the plain one, which holds one model and loads it
with safetensors or torch as they are, hashing the whole file at a first switch or not. Each has what it imports before its
time begins, and goes to every model a first time, then to every model a second time. They come one after the other, in an
order that rotates from run to run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hoist.bench.function_server import Server, Servers
from hoist.bench.loaders import Switch
from hoist.bench.measuring import ready_memory
from hoist.bench.records import Recorder
from hoist.bench.switch import Model, Options, Record, Target, find_models, raw_limits
from hoist.bench.switch_image import is_image
from hoist.config import Config
from hoist.errors import LocalError, UsageError
from hoist.pagecache import cached_fraction, drop
from hoist.read.connect import connect
from hoist.storage.base import Storage

FUNCTION, APART, PLAIN, PLAIN_HASHED = "function", "function-apart", "plain-function", "plain-function-hashed"
"""Hoist's; Hoist's without sharing; the plain one, and the plain one that hashes at a first switch."""
_HANDLERS = {FUNCTION: "Touching", APART: "Apart"}
THROUGH = "function"


def run_function_switches(
    targets: Sequence[Target], config: Config, options: Options, on_record: Callable[[Record], None]
) -> list[Record]:
    """Measure every model of every storage; each record is also told to `on_record` as soon as it is there.

    Raises UsageError for a storage with fewer than two models, as there is nothing to switch from, and what loading may.
    """
    recorder = Recorder(on_record)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hoist-bench-", dir=options.folder)))
        found = [_opened(target, config, options, stack) for target in targets]
        servers = stack.enter_context(Servers(home / "servers", config.environ))
        for target, (storage, models) in zip(targets, found, strict=True):
            largest = max(models, key=lambda model: model.entry.size)
            for values in raw_limits(storage, config.storage(target.address), largest):
                recorder.note("limit", values)
            names = functions_of(storage, options)
            for run in range(options.repeat):
                # One at a time: pages of a file that another one has mapped cannot be made cold.
                for name in names[run % len(names) :] + names[: run % len(names)]:
                    with _started(servers, name, storage, models, home / "caches") as server:
                        for values in _rounds(server, name, storage, models):
                            recorder.note("switch", {"run": run, **values})
                    shutil.rmtree(home / "caches", ignore_errors=True)
    return recorder.records


def _opened(target: Target, config: Config, options: Options, stack: ExitStack) -> tuple[Storage, list[Model]]:
    storage = stack.enter_context(connect(target.address, config)[0])
    models = find_models(storage, target, options.names)
    if len(models) < 2:
        raise UsageError(f"{target.address} has one model to measure: a function is measured with two or more")
    return storage, models


def functions_of(storage: Storage, options: Options) -> list[str]:
    """Which functions are compared on a storage: the plain one reads directories, and buckets without an accelerator."""
    read_plainly = not is_image(storage) and storage.kind != "accl"
    plain = [PLAIN, *([PLAIN_HASHED] if options.hashed else [])] if read_plainly else []
    return [FUNCTION, APART, *plain]


def _rounds(server: Server, name: str, storage: Storage, models: Sequence[Model]) -> Iterator[dict[str, Any]]:
    """First switches to all models, then second ones, by one function that has just begun."""
    for which in ("first", "second"):
        for model in models:
            yield _one(server, name, storage, model, first=which == "first")


def _started(servers: Servers, name: str, storage: Storage, models: Sequence[Model], caches: Path) -> Server:
    # A first switch knows nothing of any file, nor does it remember to have verified it.
    environ = {"XDG_CACHE_HOME": str(caches)}
    if name not in _HANDLERS:
        return servers.plain(environ)
    locations = {str(model.version): f"{storage.address}//{model.version}" for model in models}
    # Host memory has room for all models, as it is larger than a device's; the device has room for the largest one.
    largest = max(model.entry.size for model in models)
    return servers.function(locations, _HANDLERS[name], device_bytes=largest, environ=environ)


def _one(server: Server, name: str, storage: Storage, model: Model, *, first: bool) -> dict[str, Any]:
    ready_memory(model.entry.size)
    cached = None
    if model.local:
        cached = drop([model.local]) if first else cached_fraction(model.local)
    hashed = first and name == PLAIN_HASHED
    with server.watched() as figures:
        seconds, more = _ask(server, name, storage, model, hashed=hashed)
    return {
        "through": THROUGH,
        "storage": storage.address,
        "kind": storage.kind,
        "model": str(model.version),
        "file": model.entry.path,
        "size": model.entry.size,
        "loader": name,
        "switch": "first" if first else "second",
        "hashed": hashed,
        "access": "sequential",
        "cached_before": cached,
        "seconds": seconds,
        **figures,
        **more,
    }


def _ask(server: Server, name: str, storage: Storage, model: Model, *, hashed: bool) -> tuple[float, Mapping[str, Any]]:
    """Seconds until the answer to `POST /invoke`, and what the function moved for it, in bytes."""
    if name not in _HANDLERS:
        switch = Switch(f"{storage.address}//{model.version}", hashed)
        answer = server.post("/invoke", {"loader": "plain", "switch": asdict(switch)})
        if answer.status != 200:
            raise LocalError(f"{model.version}: {answer.document['error']['message']}")
        return answer.seconds, {"bytes_read": answer.document["bytes_read"]}
    before = server.states()[str(model.version)]["state"]
    answer = server.switched("/invoke", str(model.version))
    trace = server.new_trace(str(model.version))
    if trace is None:
        raise LocalError(f"{model.version} was answered without a load: it was on the device, and should not have been")
    return answer.seconds, {
        "state_before": before,
        "bytes_read": trace["fetched_bytes"],
        "reused_bytes": trace["host_reused_bytes"],
    }
