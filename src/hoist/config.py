"""hoist.toml and the environment: which storages there are and how to reach them.

This is the only reader of `os.environ`. Storages come, later ones winning, from the user's
`$XDG_CONFIG_HOME/hoist/hoist.toml`, the project's `hoist.toml` (in the working folder or above it; or the one file that
`HOIST_CONFIG` names), and `HOIST_STORAGE_<NAME>_<FIELD>`. A URL or a path can stand in a storage's place; then
`HOIST_ENDPOINT`, `HOIST_REGION`, `HOIST_PATH_STYLE`, `HOIST_CA_BUNDLE`, `HOIST_ANONYMOUS` and `HOIST_PROFILE` apply.

    [storage.oss]
    url = "s3://models/prefix"          # or oss:// gs:// az:// file:// or a path
    kind = "oss"                        # image, nas, oss or accl; default: by the URL
    region = "cn-hangzhou"
    endpoint = "https://s3.example.com" # any S3-compatible store
    path_style = true                   # default: true where an endpoint is given
    ca_bundle = "/etc/ssl/own.pem"
    profile = "models"                  # of ~/.aws/credentials
    anonymous = false

    [engine]
    connections = 8                     # HOIST_CONNECTIONS; default: by the storage
    memory = "256MiB"                   # HOIST_MEMORY: bytes in flight
    retry_seconds = 60                  # HOIST_RETRY_SECONDS
    max_bandwidth = "200MiB"            # HOIST_MAX_BANDWIDTH: bytes a second, of all transfers of a process; default: none
    direct = false                      # HOIST_DIRECT: read cold local files past the page cache
    recheck = false                     # HOIST_RECHECK: verify local files again that this host has verified

    [cache]                             # the host cache: used where this table is, or HOIST_CACHE
    enabled = true                      # HOIST_CACHE=off wins
    folder = "/var/cache/hoist"         # HOIST_CACHE: a folder, `memory`, `on`, `off`; default: ~/.cache/hoist/blocks
    size = "200GiB"                     # HOIST_CACHE_SIZE; default: half of what its disk has for it
"""

from __future__ import annotations

import os
import pwd
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hoist.errors import InvalidConfig, StorageNotFound

KINDS = ("image", "nas", "oss", "accl")
FILE_NAME = "hoist.toml"
_ENGINE_FIELDS = ("connections", "memory", "retry_seconds", "max_bandwidth", "direct", "recheck")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,19})?)\s*(?:([KMGT])I?)?B?")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """How to reach one storage; see the module for the fields. Holds no secret."""

    address: str
    url: str
    kind: str | None = None
    region: str | None = None
    endpoint: str | None = None
    path_style: bool | None = None
    ca_bundle: str | None = None
    profile: str | None = None
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits of the reading engine: `connections` (None: by the storage), bytes in flight, seconds of retrying.

    `max_bandwidth` is in bytes per second, for all transfers of this process together; None is no limit.
    `direct`: cold local files are read past the page cache, which leaves nothing for a second load; see docs/storages.md.
    `trusted` is the folder that remembers which local files this host has verified; None, as with `recheck`: verify
    them at each load. `uploads` is the folder that remembers which parts of a file a publish has sent.
    """

    connections: int | None = None
    memory_bytes: int = 256 << 20
    retry_seconds: float = 60.0
    max_bandwidth: int | None = None
    direct: bool = False
    recheck: bool = False
    trusted: Path | None = None
    uploads: Path | None = None


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """The host cache: `enabled` for loads and pulls, its folder (None: the usual one), its limit in bytes (None: by the
    folder, or the disk). `refused`: it was said that it is not to be used, by a mount neither."""

    enabled: bool = False
    folder: Path | None = None
    size: int | None = None
    refused: bool = False


@dataclass(frozen=True)
class Config:
    """Everything that was configured, and the environment it was read from."""

    storages: Mapping[str, StorageConfig] = field(default_factory=dict)
    engine: EngineConfig = EngineConfig()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache: CacheConfig = CacheConfig()

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
        if address in self.storages:
            return self.storages[address]
        if _URL.match(address) or address.startswith(("/", "./", "../", "~/")) or address in (".", ".."):
            overrides = {key: self.environ.get(f"HOIST_{key.upper()}") for key in _FIELDS if key not in ("url", "kind")}
            return _storage(address, {"url": address} | {k: v for k, v in overrides.items() if v is not None}, "HOIST_")
        known = f"; hoist.toml has {', '.join(sorted(self.storages))}" if self.storages else ""
        if Path(address).is_dir():
            known += f"; there is a folder of that name here: write ./{address} for it"
        raise StorageNotFound(
            f"no storage is named {address!r}{known}. Add [storage.{address}] with its url to hoist.toml, "
            "or write a URL (s3://bucket/prefix) or a path (/srv/models) in its place"
        )


_FIELDS = tuple(item.name for item in fields(StorageConfig) if item.name != "address")


_CACHE_FIELDS = ("enabled", "folder", "size")
_IN_MEMORY, _MEMORY_FOLDER = "memory", "/dev/shm/hoist"  # noqa: S108


_SAID: dict[str, str] = {}


def say(field_name: str, value: str) -> None:
    """What the command line says of the engine: it wins over files and variables, for the rest of this process.

    Raises InvalidConfig.
    """
    _engine(EngineConfig(), {field_name: value}, f"--{field_name.replace('_', '-')}")
    _SAID[field_name] = value


def load_config(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Config:
    """Read the configuration. Raises InvalidConfig, naming the file and the field.

    `environ` and `folder` default to this process's environment and working folder.
    """
    env = current_environ() if environ is None else dict(environ)
    tables: dict[str, dict[str, Any]] = {}
    engine, cache = EngineConfig(), CacheConfig()
    for path in _files(env, folder or Path.cwd()):
        document = _read(path)
        for name, table in document.get("storage", {}).items():
            if not isinstance(table, dict) or not _NAME.fullmatch(name):
                raise InvalidConfig(f"{path}: [storage.{name}] must be a table with a lower-case name")
            base = path.parent
            tables[name] = {**table, "_from": str(path), "_base": str(base)}
        engine = _engine(engine, document.get("engine", {}), f"{path}: [engine]")
        if "cache" in document:
            cache = _cache(cache, {"enabled": True} | document["cache"], f"{path}: [cache]", path.parent)
    _override(tables, env)
    storages = {
        name: _storage(name, table, str(table.get("_from", "HOIST_STORAGE_"))) for name, table in tables.items()
    }
    for key in _ENGINE_FIELDS:
        variable = f"HOIST_{key.upper()}"
        if variable in env:
            engine = _engine(engine, {key: env[variable]}, variable)
    engine = _engine(engine, _SAID, "the command line")
    cache = _cache(cache, _cache_variables(env), "HOIST_CACHE", folder or Path.cwd())
    found = Config(storages, engine, env, cache)
    trusted = None if engine.recheck else found.cache_folder / "verified"
    return replace(found, engine=replace(engine, trusted=trusted, uploads=found.cache_folder / "uploads"))


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


def debug() -> bool:
    """Whether HOIST_DEBUG asks for tracebacks."""
    return os.environ.get("HOIST_DEBUG", "").lower() not in _FALSE


def parse_size(text: str | int) -> int:
    """Bytes from `256MiB`, `1.5G` (powers of 1024, as rclone and docker read them) or a number.

    Raises InvalidConfig.
    """
    found = _SIZE.fullmatch(str(text).strip().upper())
    if not found:
        raise InvalidConfig(f"{text!r} is not a size: write bytes, or 512MiB, 8G")
    return int(Fraction(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


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
    unknown = set(document) - {"storage", "engine", "cache"}
    if unknown or not all(isinstance(table, dict) for table in document.values()):
        raise InvalidConfig(f"{path}: unknown {sorted(unknown)}; it has tables [storage.NAME], [engine] and [cache]")
    return document


def _override(tables: dict[str, dict[str, Any]], env: Mapping[str, str]) -> None:
    """Lay HOIST_STORAGE_<NAME>_<FIELD> over the tables; the longest field that fits ends the name."""
    for key, value in env.items():
        if not key.startswith("HOIST_STORAGE_"):
            continue
        tail = key.removeprefix("HOIST_STORAGE_").lower()
        found = next((item for item in sorted(_FIELDS, key=len, reverse=True) if tail.endswith("_" + item)), None)
        if found is None:
            raise InvalidConfig(f"{key}: unknown field; there are {', '.join(_FIELDS)}")
        name = tail.removesuffix("_" + found)
        known = next((known for known in tables if re.sub(r"[.-]", "_", known) == name), name)
        if not _NAME.fullmatch(known):
            raise InvalidConfig(f"{key}: {known!r} is no storage's name: write HOIST_STORAGE_<NAME>_{found.upper()}")
        tables.setdefault(known, {})[found] = value
        if found == "url":
            tables[known].pop("_base", None)


def _storage(address: str, table: Mapping[str, Any], where: str) -> StorageConfig:
    values = {key: value for key, value in table.items() if not key.startswith("_")}
    label = f"{where}: storage {address!r}"
    unknown = sorted(set(values) - set(_FIELDS))
    if unknown:
        raise InvalidConfig(f"{label}: unknown field {unknown[0]!r}; there are {', '.join(_FIELDS)}")
    if not isinstance(values.get("url"), str) or not values["url"]:
        raise InvalidConfig(f"{label} has no url")
    if values.get("kind") not in (None, *KINDS):
        raise InvalidConfig(f"{label}: kind {values['kind']!r} is none of {', '.join(KINDS)}")
    for key in ("path_style", "anonymous"):
        if key in values:
            values[key] = _boolean(values[key], f"{label}: {key}")
    for key, value in values.items():
        if key not in ("path_style", "anonymous") and not isinstance(value, str):
            raise InvalidConfig(f"{label}: {key} must be a text")
    for key in ("url", "endpoint"):
        try:
            urlsplit(values.get(key) or "")
        except ValueError as error:
            raise InvalidConfig(f"{label}: {key} {values[key]!r} is none: {error}") from None
    found = StorageConfig(address=address, **values)
    if "_base" in table and not _URL.match(found.url):
        # A path in a file is relative to that file, as in any other configuration.
        return replace(found, url=str(Path(table["_base"]) / local_path(found.url, label)))
    return found


def local_path(text: str, label: str) -> Path:
    """`text` as a path of this machine, with `~` for a home. Raises InvalidConfig, with `label`, if it cannot be one."""
    try:
        if "\0" not in text:
            return Path(text).expanduser()
    except RuntimeError:
        pass
    raise InvalidConfig(f"{label}: {text!r} is no path: it names a user who has no home, or has a NUL in it")


def _engine(base: EngineConfig, table: Mapping[str, Any], where: str) -> EngineConfig:
    unknown = sorted(set(table) - set(_ENGINE_FIELDS))
    if unknown:
        raise InvalidConfig(f"{where}: unknown field {unknown[0]!r}; there are {', '.join(_ENGINE_FIELDS)}")
    found = base
    for key, value in table.items():
        try:
            if key == "connections":
                found = replace(found, connections=int(value))
            elif key == "memory":
                found = replace(found, memory_bytes=parse_size(value))
            elif key == "max_bandwidth":
                # 0 takes a limit away that stands in another file, as in rclone and wget.
                found = replace(found, max_bandwidth=parse_size(value) or None)
            elif key == "direct":
                found = replace(found, direct=_boolean(value, key))
            elif key == "recheck":
                found = replace(found, recheck=_boolean(value, key))
            else:
                found = replace(found, retry_seconds=float(value))
        except (TypeError, ValueError, OverflowError, InvalidConfig) as error:
            raise InvalidConfig(f"{where}: {key}: {error}") from None
    many = found.connections is not None and not 1 <= found.connections <= 1024
    if many or not found.retry_seconds >= 0 or found.memory_bytes < 1 << 20:
        raise InvalidConfig(f"{where}: connections are 1 to 1024, retry_seconds 0 or more, memory at least 1MiB")
    if found.max_bandwidth is not None and found.max_bandwidth < 1 << 10:
        raise InvalidConfig(f"{where}: max_bandwidth is bytes a second, at least 1KiB; 0 is no limit")
    return found


def _cache_variables(env: Mapping[str, str]) -> dict[str, str]:
    """What HOIST_CACHE (a folder, `memory`, `on` or `off`) and HOIST_CACHE_SIZE say, as fields."""
    found = {"size": env["HOIST_CACHE_SIZE"]} if env.get("HOIST_CACHE_SIZE") else {}
    given = env.get("HOIST_CACHE")
    if not given:
        return found
    if given.lower() in _TRUE + _FALSE:
        return found | {"enabled": given}
    return found | {"enabled": "true", "folder": given}


def _cache(base: CacheConfig, table: Mapping[str, Any], where: str, folder: Path) -> CacheConfig:
    """Lay a table over what was configured before; a path in it is relative to `folder`."""
    unknown = sorted(set(table) - set(_CACHE_FIELDS))
    if unknown:
        raise InvalidConfig(f"{where}: unknown field {unknown[0]!r}; there are {', '.join(_CACHE_FIELDS)}")
    found = base
    if "enabled" in table:
        enabled = _boolean(table["enabled"], f"{where}: enabled")
        found = replace(found, enabled=enabled, refused=not enabled)
    if "folder" in table:
        text = table["folder"]
        if not isinstance(text, str) or not text:
            raise InvalidConfig(f"{where}: folder must be a path, or {_IN_MEMORY!r}")
        # A name of its own for each user, as all share that folder; the cache refuses one that is not this user's.
        place = f"{_MEMORY_FOLDER}-{os.geteuid()}" if text == _IN_MEMORY else text
        found = replace(found, folder=folder / local_path(place, where))
    if "size" in table:
        try:
            found = replace(found, size=parse_size(table["size"]))
        except InvalidConfig as error:
            raise InvalidConfig(f"{where}: size: {error}") from None
    return found


def _boolean(value: object, label: str) -> bool:
    text = str(value).lower()
    if text not in _TRUE + _FALSE:
        raise InvalidConfig(f"{label} must be true or false, not {value!r}")
    return text in _TRUE
