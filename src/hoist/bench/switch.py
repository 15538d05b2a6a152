"""The experiment of the source document: how long an instance takes to switch to a model, the first and second time.

Each loader is an instance of its own, a process that goes from model to model. Before a first switch the page cache is
emptied of the model's file (here, and behind a local server where it is known), and that is checked; the second switch
follows at once. The loaders take turns model by model, and the storage's raw limit is measured in the same run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoist.bench.instance import Instance
from hoist.bench.limits import cached_reader, direct_reader, limit_of, url_reader
from hoist.bench.machine import machine_facts
from hoist.bench.records import make_record
from hoist.config import Config
from hoist.errors import NotFound, UsageError
from hoist.model.manifest import FileEntry
from hoist.model.reference import Reference
from hoist.pagecache import cached_fraction, drop
from hoist.read.connect import connect
from hoist.storage import layout
from hoist.storage.base import Storage, Version
from hoist.storage.tree import TreeStorage
from hoist.tensors.index import CHECKPOINT_SUFFIXES

if TYPE_CHECKING:
    from hoist.bench.loaders import Access

Record = dict[str, Any]
_WEIGHTS = (".safetensors", *CHECKPOINT_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Target:
    """A storage to measure. `served_from`: for a bucket on this machine, the folder that holds its objects' files."""

    address: str
    served_from: Path | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: `hashed`: plain loaders hash the file first; `access`: whole files, or tensor by tensor."""

    repeat: int = 1
    hashed: bool = True
    access: Access = "sequential"
    loaders: Sequence[str] = ("hoist", "plain")
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """One version with one weight file, and where that file is on this machine, if it is."""

    version: Version
    entry: FileEntry
    local: Path | None


def run_switches(
    targets: Sequence[Target], config: Config, options: Options, on_record: Callable[[Record], None]
) -> list[Record]:
    """Measure every model of every storage; each record is also told to `on_record` as soon as it is there.

    Raises UsageError for a storage without models to measure, and what loading may.
    """
    machine = machine_facts()
    records: list[Record] = []

    def note(bench: str, values: Mapping[str, Any]) -> None:
        records.append(make_record(bench, machine, values))
        on_record(records[-1])

    with ExitStack() as stack:
        memory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hoist-bench-")))
        environ = {**config.environ, "XDG_CACHE_HOME": str(memory)}
        instances = [stack.enter_context(Instance(loader, environ)) for loader in options.loaders]
        for instance in instances:
            instance.free()
        for target in targets:
            storage, _ = connect(target.address, config)
            with storage:
                models = find_models(storage, target, options.names)
                for values in _limits(storage, max(models, key=lambda model: model.entry.size)):
                    note("limit", values)
                for run in range(options.repeat):
                    for model in models:
                        # A first switch knows nothing of the file, nor does it remember to have verified it.
                        shutil.rmtree(memory / "hoist", ignore_errors=True)
                        for values in _switches(instances, storage, model, options):
                            note("switch", {"run": run, **values})
    return records


def find_models(storage: Storage, target: Target, names: Sequence[str] = ()) -> list[Model]:
    """The versions with one weight file, only those of `names` if there are any. Raises UsageError, NotFound."""
    found = []
    for version in storage.versions():
        if names and version.name not in names:
            continue
        _, manifest = storage.resolve(Reference(version.name, version.label))
        weights = [entry for entry in manifest.files if entry.path.endswith(_WEIGHTS)]
        if len(weights) == 1:
            found.append(Model(version, weights[0], _local_file(storage, target, version, weights[0])))
    missing = set(names) - {model.version.name for model in found}
    if missing:
        raise NotFound(f"{target.address} has no model with one weight file named {', '.join(sorted(missing))}")
    if not found:
        raise UsageError(
            f"{target.address} has no model with one weight file: publish some, e.g. those of bench fixtures"
        )
    return found


def _local_file(storage: Storage, target: Target, version: Version, entry: FileEntry) -> Path | None:
    from hoist.storage.directory import DirectoryObjects

    key = layout.file_key(version, entry.path)
    if isinstance(storage, TreeStorage) and isinstance(storage.objects, DirectoryObjects):
        return storage.objects.root / key
    return target.served_from / key if target.served_from else None


def _switches(
    instances: Sequence[Instance], storage: Storage, model: Model, options: Options
) -> Iterator[dict[str, Any]]:
    from hoist.bench.loaders import Switch

    location = f"{storage.address}//{model.version}"
    for instance in instances:
        for which in ("first", "second"):
            first = which == "first"
            if first:
                instance.free()
                cached = drop([model.local]) if model.local else None
            else:
                cached = cached_fraction(model.local) if model.local else None
            figures = instance.switch(Switch(location, first and options.hashed, options.access))
            yield {
                "storage": storage.address,
                "kind": storage.kind,
                "model": str(model.version),
                "file": model.entry.path,
                "size": model.entry.size,
                "loader": instance.loader,
                "switch": which,
                "hashed": first and options.hashed and instance.loader != "hoist",
                "access": options.access,
                "cached_before": cached,
                **figures,
            }
        instance.free()


def _limits(storage: Storage, model: Model) -> Iterator[dict[str, Any]]:
    """The raw limits of the storage, on its largest model."""
    from hoist.storage.bucket import BucketObjects

    size = model.entry.size
    base = {"storage": storage.address, "kind": storage.kind, "size": size}
    objects = storage.objects if isinstance(storage, TreeStorage) else None
    if isinstance(objects, BucketObjects):
        rate, depth = limit_of(size, url_reader(objects.url(layout.file_key(model.version, model.entry.path))))
        yield {**base, "limit": "get", "bytes_per_second": rate, "depth": depth}
    elif model.local:
        drop([model.local])
        rate, depth = limit_of(size, direct_reader(model.local))
        yield {**base, "limit": "direct", "bytes_per_second": rate, "depth": depth}
        cached = cached_reader(model.local)
        limit_of(size, cached, (1,))
        rate, depth = limit_of(size, cached)
        yield {**base, "limit": "cached", "bytes_per_second": rate, "depth": depth}
