"""hoist.toml and the environment: which storages there are and how to reach them.

This is the only reader of `os.environ`. Storages come, later ones winning, from the user's
`$XDG_CONFIG_HOME/hoist/hoist.toml`, the project's `hoist.toml` (in the working folder or above it; or the one file that
`HOIST_CONFIG` names), and `HOIST_STORAGE_<NAME>_<FIELD>`. A URL or a path can stand in a storage's place; then
`HOIST_ENDPOINT`, `HOIST_REGION`, `HOIST_PATH_STYLE`, `HOIST_CA_BUNDLE`, `HOIST_ANONYMOUS`, `HOIST_PROFILE`,
`HOIST_ACCELERATOR` and `HOIST_REQUIRE_SIGNATURE` apply.
`HOIST_AUTHOR` is who moves tags, for their history; default: `user@host`.

    [storage.oss]
    url = "s3://models/prefix"          # or oss:// gs:// az:// file:// or a path
    kind = "oss"                        # image, nas, oss or accl; default: by the URL
    region = "cn-hangzhou"
    endpoint = "https://s3.example.com" # any S3-compatible store
    path_style = true                   # default: true where an endpoint is given
    ca_bundle = "/etc/ssl/own.pem"
    profile = "models"                  # of ~/.aws/credentials
    anonymous = false
    accelerator = "http://accel:8080"   # or a list: where hoist accelerate runs; weights are read through it
    require_signature = "release.pub"   # or a list: no version is opened that none of these has signed

    [storage.models]
    kind = "any"                        # several storages as one: docs/any.md
    members = ["eu", "us", "nas"]       # their names, in order of preference

    [engine]
    connections = 8                     # HOIST_CONNECTIONS; default: by the storage
    memory = "256MiB"                   # HOIST_MEMORY: bytes in flight
    retry_seconds = 60                  # HOIST_RETRY_SECONDS
    start_jitter = 0                    # HOIST_START_JITTER: most seconds to wait, at random, before the first weights
    max_bandwidth = "200MiB"            # HOIST_MAX_BANDWIDTH: bytes a second, of all transfers of a process; default: none
    direct = false                      # HOIST_DIRECT: read cold local files past the page cache
    recheck = false                     # HOIST_RECHECK: verify local files again that this host has verified

    [cache]                             # the host cache: used where this table is, or HOIST_CACHE
    enabled = true                      # HOIST_CACHE=off wins
    folder = "/var/cache/hoist"         # HOIST_CACHE: a folder, `memory`, `on`, `off`; default: ~/.cache/hoist/blocks
    size = "200GiB"                     # HOIST_CACHE_SIZE; default: half of what its disk has for it

    [sync.production]                   # a plan for `hoist sync`: docs/sync.md
    from = "eu"
    to = ["us", "ap"]

    [facts]                             # what `hoist advise` takes instead of the facts that are shipped: docs/facts.md
    "function-compute.nas.performance.rate" = "900MB/s"
"""

from __future__ import annotations

import os
import platform
import pwd
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hoist.errors import InvalidConfig, StorageNotFound
from hoist.settings import (
    ENGINE_FIELDS,
    FALSE,
    IS_URL,
    STORAGE_FIELDS,
    CacheConfig,
    EngineConfig,
    StorageConfig,
    cache_variables,
    is_any,
    local_path,
    parse_any,
    parse_cache,
    parse_engine,
    parse_size,
    parse_storage,
)

__all__ = [
    "CacheConfig",
    "Config",
    "EngineConfig",
    "StorageConfig",
    "author",
    "become",
    "config_files",
    "current_environ",
    "debug",
    "load_config",
    "local_path",
    "parse_size",
    "say",
    "sends_traces",
]
FILE_NAME = "hoist.toml"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_NAMED = ("url", "kind", "members")


@dataclass(frozen=True)
class Config:
    """Everything that was configured, and the environment it was read from."""

    storages: Mapping[str, StorageConfig] = field(default_factory=dict)
    engine: EngineConfig = field(default_factory=EngineConfig)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache: CacheConfig = field(default_factory=CacheConfig)
    facts: Mapping[str, Any] = field(default_factory=dict)
    plans: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The tables `[sync.NAME]` as they stand: `hoist.sync.find` reads them. `_from` and `_base`: their file, its folder."""

    @property
    def cache_folder(self) -> Path:
        """Where Hoist keeps what it can do without: `$XDG_CACHE_HOME/hoist`."""
        home = Path(self.environ.get("HOME", "/"))
        return Path(self.environ.get("XDG_CACHE_HOME") or home / ".cache") / "hoist"

    @property
    def runtime_folder(self) -> Path:
        """Where what runs now leaves notes, gone at the next start: `$XDG_RUNTIME_DIR/hoist`, or root's `/run/hoist`."""
        if self.environ.get("XDG_RUNTIME_DIR"):
            return Path(self.environ["XDG_RUNTIME_DIR"]) / "hoist"
        return Path("/run/hoist") if os.geteuid() == 0 else self.cache_folder / "run"

    def storage(self, address: str) -> StorageConfig:
        """The storage that `address` (a configured name, a URL or a path) means. Raises StorageNotFound."""
        found = self._storage(address)
        seconds = self.engine.retry_seconds
        members = tuple(replace(member, retry_seconds=seconds) for member in found.members)
        return replace(found, retry_seconds=seconds, members=members)

    def _storage(self, address: str) -> StorageConfig:
        if address in self.storages:
            return self.storages[address]
        if IS_URL.match(address) or address.startswith(("/", "./", "../", "~/")) or address in (".", ".."):
            overrides = {key: self.environ.get(f"HOIST_{key.upper()}") for key in STORAGE_FIELDS if key not in _NAMED}
            return parse_storage(
                address, {"url": address} | {k: v for k, v in overrides.items() if v is not None}, "HOIST_*"
            )
        known = f"; hoist.toml has {', '.join(sorted(self.storages))}" if self.storages else ""
        if Path(address).is_dir():
            known += f"; there is a folder of that name here: write ./{address} for it"
        raise StorageNotFound(
            f"no storage is named {address!r}{known}. Add [storage.{address}] with its url to hoist.toml, "
            "or write a URL (s3://bucket/prefix) or a path (/srv/models) in its place"
        )


_SAID: dict[str, str] = {}


def say(field_name: str, value: str) -> None:
    """What the command line says of the engine: it wins over files and variables, for the rest of this process.

    Raises InvalidConfig.
    """
    parse_engine(EngineConfig(), {field_name: value}, f"--{field_name.replace('_', '-')}")
    _SAID[field_name] = value


def load_config(
    environ: Mapping[str, str] | None = None, folder: Path | None = None, also: Path | None = None
) -> Config:
    """Read the configuration. Raises InvalidConfig, naming the file and the field.

    `environ` and `folder` default to this process's environment and working folder; `also` is one file more, which wins.
    """
    env = current_environ() if environ is None else dict(environ)
    tables: dict[str, dict[str, Any]] = {}
    engine, cache = EngineConfig(), CacheConfig()
    facts: dict[str, Any] = {}
    plans: dict[str, dict[str, Any]] = {}
    for path in [*_files(env, folder or Path.cwd()), *([also] if also else [])]:
        document = _read(path)
        tables |= _named(document, "storage", path)
        plans |= _named(document, "sync", path)
        engine = parse_engine(engine, document.get("engine", {}), f"{path}: [engine]")
        facts |= document.get("facts", {})
        if "cache" in document:
            cache = parse_cache(cache, {"enabled": True} | document["cache"], f"{path}: [cache]", path.parent)
    _override(tables, env)
    storages = _parse_storages(tables)
    for key in ENGINE_FIELDS:
        variable = f"HOIST_{key.upper()}"
        if variable in env:
            engine = parse_engine(engine, {key: env[variable]}, variable)
    engine = parse_engine(engine, _SAID, "the command line")
    cache = parse_cache(cache, cache_variables(env), "HOIST_CACHE", folder or Path.cwd())
    found = Config(storages, engine, env, cache, facts, plans)
    trusted = None if engine.recheck else found.cache_folder / "verified"
    return replace(found, engine=replace(engine, trusted=trusted, uploads=found.cache_folder / "uploads"))


def _parse_storages(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, StorageConfig]:
    logical = {name for name, table in tables.items() if is_any(table)}
    where = {name: str(table.get("_from", "HOIST_STORAGE_")) for name, table in tables.items()}
    found = {name: parse_storage(name, tables[name], where[name]) for name in tables if name not in logical}
    return found | {name: parse_any(name, tables[name], where[name], found, logical) for name in sorted(logical)}


def config_files(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> list[Path]:
    """The files that `load_config` reads, the winning one last. Raises InvalidConfig."""
    return _files(os.environ if environ is None else environ, folder or Path.cwd())


def current_environ() -> dict[str, str]:
    """A copy of this process's environment; with a HOME also where a start-up script or mount(8) gives none."""
    found = dict(os.environ)
    if not found.get("HOME"):
        with suppress(KeyError):
            found["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir
    return found


def become(environ: Mapping[str, str], folder: str) -> None:
    """Give this process another environment and working folder: those that a new instance should have."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)


def author() -> str:
    """Who does what is noted in a tag's history: HOIST_AUTHOR, else `user@host`."""
    if os.environ.get("HOIST_AUTHOR"):
        return os.environ["HOIST_AUTHOR"]
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return f"{user}@{platform.node() or 'an unknown host'}"


def sends_traces() -> bool:
    """Whether OpenTelemetry's own variables name a collector for traces, and none of them says not to send any."""
    named = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{each}ENDPOINT") for each in ("", "TRACES_"))
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return named and not off


def debug() -> bool:
    """Whether HOIST_DEBUG asks for tracebacks."""
    return os.environ.get("HOIST_DEBUG", "").lower() not in FALSE


def _files(env: Mapping[str, str], folder: Path) -> list[Path]:
    if env.get("HOIST_CONFIG"):
        path = Path(env["HOIST_CONFIG"])
        if not path.is_file():
            raise InvalidConfig(f"HOIST_CONFIG names {path}, which is no file")
        return [path]
    home = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/")) / ".config")
    found = [home / "hoist" / FILE_NAME]
    found += [above / FILE_NAME for above in (folder, *folder.parents) if (above / FILE_NAME).is_file()][:1]
    return [path for path in found if path.is_file()]


def _read(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidConfig(f"{path}: {error}") from None
    unknown = set(document) - {"storage", "engine", "cache", "facts", "sync"}
    if unknown or not all(isinstance(table, dict) for table in document.values()):
        raise InvalidConfig(
            f"{path}: unknown {sorted(unknown)}; it has tables [storage.NAME], [sync.NAME], [engine], [cache] and [facts]"
        )
    return document


def _named(document: Mapping[str, Any], kind: str, path: Path) -> dict[str, dict[str, Any]]:
    """The tables `[KIND.NAME]` of a file, each with where it stands."""
    tables = document.get(kind, {})
    for name, table in tables.items():
        if not isinstance(table, dict) or not _NAME.fullmatch(name):
            raise InvalidConfig(f"{path}: [{kind}.{name}] must be a table with a lower-case name")
    return {name: {**table, "_from": str(path), "_base": str(path.parent)} for name, table in tables.items()}


def _override(tables: dict[str, dict[str, Any]], env: Mapping[str, str]) -> None:
    """Lay HOIST_STORAGE_<NAME>_<FIELD> over the tables; the longest field that fits ends the name."""
    for key, value in env.items():
        if not key.startswith("HOIST_STORAGE_"):
            continue
        tail = key.removeprefix("HOIST_STORAGE_").lower()
        found = next(
            (item for item in sorted(STORAGE_FIELDS, key=len, reverse=True) if tail.endswith("_" + item)), None
        )
        if found is None:
            raise InvalidConfig(f"{key}: unknown field; there are {', '.join(STORAGE_FIELDS)}")
        name = tail.removesuffix("_" + found)
        known = next((known for known in tables if re.sub(r"[.-]", "_", known) == name), name)
        if not _NAME.fullmatch(known):
            raise InvalidConfig(f"{key}: {known!r} is no storage's name: write HOIST_STORAGE_<NAME>_{found.upper()}")
        tables.setdefault(known, {})[found] = value
        if found == "url":
            tables[known].pop("_base", None)
        if found == "require_signature":
            # A path in a variable is relative to the working folder.
            tables[known]["_keys"] = ""
