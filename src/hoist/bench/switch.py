"""The experiment of the source document: how long an instance takes to switch to a model, the first and second time.

Each loader is an instance of its own, a process that goes from model to model. Before a first switch the page cache is
emptied of the model's file (here, and behind a local server where it is known), and that is checked; the second switch
follows at once. The loaders take turns model by model, and the storage's raw limit is measured in the same run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoist.bench.instance import Instance
from hoist.bench.limits import cached_reader, direct_reader, limit_of, url_reader
from hoist.bench.records import Recorder
from hoist.bench.switch_image import PODMAN, WHOLE, Pulled, blob_path, blob_url, is_image, podman_unable
from hoist.config import Config, StorageConfig
from hoist.errors import HoistError, NotFound, UsageError
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
    from hoist.bench.switch_mount import SwitchMount

Record = dict[str, Any]
PLAIN, CACHED, MOUNTED, MOUNTED_NO_CACHE = "plain", "hoist-cached", "mounted", "mounted-no-cache"
_MOUNTED = (MOUNTED, MOUNTED_NO_CACHE)
_THROUGH_CACHES = (CACHED, *_MOUNTED)
_WEIGHTS = (".safetensors", *CHECKPOINT_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Target:
    """A storage to measure. `served_from`: for a bucket or registry on this machine, the folder that holds its files."""

    address: str
    served_from: Path | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: `hashed`: plain loaders hash the file first; `access`: whole files, or tensor by tensor.

    `mounted`: what is not a directory is also loaded through `hoist mount`, by plain loaders, and by Hoist with the host
    cache. `folder` is where caches and pulled images are meanwhile: it should be on a disk. Out of a registry a plain
    loader loads what was pulled whole before, by Hoist and by podman.
    """

    repeat: int = 1
    hashed: bool = True
    access: Access = "sequential"
    loaders: Sequence[str] = ("hoist", PLAIN)
    names: Sequence[str] = ()
    mounted: bool = False
    folder: Path | None = None


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
    recorder = Recorder(on_record)
    note = recorder.note

    with ExitStack() as stack:
        memory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hoist-bench-", dir=options.folder)))
        instances: dict[str, Instance] = {}

        def instance_of(loader: str) -> Instance:
            """The instance of a loader, which is up."""
            if loader not in instances:
                instances[loader] = stack.enter_context(Instance(loader, _environ(config, loader, memory)))
                instances[loader].free()
            return instances[loader]

        for target in targets:
            storage, _ = connect(target.address, config)
            with storage:
                models = find_models(storage, target, options.names)
                where = config.storage(target.address)
                for values in raw_limits(storage, where, max(models, key=lambda model: model.entry.size)):
                    note("limit", values)
                for values in _missing(storage, where):
                    note("switch", values)
                ready = [instance_of(loader) for loader in _loaders(storage, where, options)]
                for run in range(options.repeat):
                    for model in models:
                        # A first switch knows nothing of the file, nor does it remember to have verified it.
                        shutil.rmtree(memory / "hoist", ignore_errors=True)
                        for instance in list(ready):
                            for values in _switches(instance, target, storage, model, options, config, memory):
                                note("switch", {"run": run, **values})
                                if "skipped" in values:
                                    ready.remove(instance)
    return recorder.records


def _loaders(storage: Storage, where: StorageConfig, options: Options) -> Iterator[str]:
    """The loaders that are compared on a storage."""
    if is_image(storage):
        yield from (loader for loader in options.loaders if loader != PLAIN)
        yield from (loader for loader in WHOLE if loader != PODMAN or podman_unable(where) is None)
    else:
        yield from options.loaders
    if options.mounted and not _is_local(storage):
        yield from _THROUGH_CACHES


def _missing(storage: Storage, where: StorageConfig) -> Iterator[dict[str, Any]]:
    """A record of the loader that cannot be measured, with the reason."""
    if is_image(storage) and (reason := podman_unable(where)):
        yield {"storage": storage.address, "kind": storage.kind, "loader": PODMAN, "skipped": reason}


def _environ(config: Config, loader: str, memory: Path) -> dict[str, str]:
    """An instance's environment: only one has a host cache, whatever the user's own has."""
    cache = str(memory / "cache") if loader == CACHED else "off"
    return {**config.environ, "XDG_CACHE_HOME": str(memory), "HOIST_CACHE": cache}


def _is_local(storage: Storage) -> bool:
    from hoist.storage.bucket import BucketObjects

    bucket = isinstance(storage, TreeStorage) and isinstance(storage.objects, BucketObjects)
    return not bucket and not is_image(storage)


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

    if is_image(storage):
        return blob_path(storage, version, entry, target.served_from) if target.served_from else None
    key = layout.file_key(version, entry.path)
    if isinstance(storage, TreeStorage) and isinstance(storage.objects, DirectoryObjects):
        return storage.objects.root / key
    return target.served_from / key if target.served_from else None


def _switches(
    instance: Instance,
    target: Target,
    storage: Storage,
    model: Model,
    options: Options,
    config: Config,
    memory: Path,
) -> Iterator[dict[str, Any]]:
    """The first and second switch of one loader; a cache or mount that it goes through is new."""
    from hoist.bench.switch_mount import SwitchMount

    shutil.rmtree(memory / "cache", ignore_errors=True)
    with ExitStack() as stack:
        mount = None
        if instance.loader in _MOUNTED:
            cached = instance.loader == MOUNTED
            mount = stack.enter_context(SwitchMount(target.address, config, memory / "mount", cached=cached))
        pulled = None
        if instance.loader in WHOLE:
            assert is_image(storage)
            where, place = config.storage(target.address), memory / "pulled"
            pulled = stack.enter_context(Pulled(instance.loader, storage, where, model.version, model.entry, place))
        # What it holds of the mount goes first.
        stack.callback(instance.free)
        for which in ("first", "second"):
            first = which == "first"
            if first:
                instance.free()
            try:
                yield _one(instance, storage, model, options, mount, pulled, first=first)
            except HoistError as error:
                if instance.loader != PODMAN:
                    raise
                named = {"storage": storage.address, "kind": storage.kind, "model": str(model.version)}
                yield {**named, "loader": PODMAN, "skipped": f"failed: {error}"}
                return


def _one(
    instance: Instance,
    storage: Storage,
    model: Model,
    options: Options,
    mount: SwitchMount | None,
    pulled: Pulled | None,
    *,
    first: bool,
) -> dict[str, Any]:
    from hoist.bench.loaders import Switch

    cached = None
    if model.local:
        cached = drop([model.local]) if first else cached_fraction(model.local)
    path = str(mount.path(model.version, model.entry.path)) if mount else None
    before = mount.fetched() if mount else 0
    hashed = first and options.hashed
    location = f"{storage.address}//{model.version}"
    figures = instance.switch(Switch(location, hashed, options.access, path, **(pulled.told if pulled else {})))
    if mount:
        figures["bytes_read"] = mount.fetched() - before
    return {
        "storage": storage.address,
        "kind": storage.kind,
        "model": str(model.version),
        "file": model.entry.path,
        "size": model.entry.size,
        "loader": instance.loader,
        "switch": "first" if first else "second",
        "hashed": hashed and instance.loader not in ("hoist", CACHED),
        "access": options.access,
        "cached_before": cached,
        **figures,
    }


def raw_limits(storage: Storage, where: StorageConfig, model: Model) -> Iterator[dict[str, Any]]:
    """The raw limits of the storage, on one of its models."""
    from hoist.storage.bucket import BucketObjects

    size = model.entry.size
    base = {"storage": storage.address, "kind": storage.kind, "size": size}
    objects = storage.objects if isinstance(storage, TreeStorage) else None
    if isinstance(objects, BucketObjects):
        rate, depth = limit_of(size, url_reader(objects.url(layout.file_key(model.version, model.entry.path))))
        yield {**base, "limit": "get", "bytes_per_second": rate, "depth": depth}
    elif is_image(storage):
        found = blob_url(storage, where, model.version, model.entry)
        if found:
            rate, depth = limit_of(found.size, url_reader(found.url))
            yield {**base, "size": found.size, "limit": "get", "bytes_per_second": rate, "depth": depth}
    elif model.local:
        drop([model.local])
        rate, depth = limit_of(size, direct_reader(model.local))
        yield {**base, "limit": "direct", "bytes_per_second": rate, "depth": depth}
        cached = cached_reader(model.local)
        limit_of(size, cached, (1,))
        rate, depth = limit_of(size, cached)
        yield {**base, "limit": "cached", "bytes_per_second": rate, "depth": depth}
