"""What each table of hoist.toml may say, and the variables that say the same: parsed into values, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hoist.errors import InvalidConfig

KINDS = ("image", "nas", "oss", "accl")
ANY = "any"
"""The kind of a storage that is several others, by preference."""
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,19})?)\s*(?:([KMGT])I?)?B?")
IS_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
IDENTITY = re.compile(r"(.+)@(https?://.+)", re.DOTALL)
"""One who signs without a key: IDENTITY@ISSUER."""
_SERVER = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")
_MOST_JITTER = 60.0
_CACHE_FIELDS = ("enabled", "folder", "size")
_IN_MEMORY, _MEMORY_FOLDER = "memory", "/dev/shm/hoist"  # noqa: S108


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """How to reach one storage; see `hoist.config` for the fields. Holds no secret.

    `retry_seconds` is the engine's, for storages that repeat requests themselves. `members` are those of a logical storage,
    whose kind is `any`.
    """

    address: str
    url: str
    kind: str | None = None
    region: str | None = None
    endpoint: str | None = None
    path_style: bool | None = None
    ca_bundle: str | None = None
    profile: str | None = None
    anonymous: bool = False
    accelerator: tuple[str, ...] = ()
    members: tuple[StorageConfig, ...] = ()
    require_signature: tuple[str, ...] = ()
    retry_seconds: float = 60.0

    @property
    def scheme(self) -> str:
        """Of its URL; `file` for a path."""
        return self.url.partition("://")[0] if "://" in self.url else "file"


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits of the reading engine: `connections` (None: by the storage), bytes in flight, seconds of retrying.

    `start_jitter` is the most seconds that a process waits, at random, before it first asks a remote storage for weights;
    None is 0, and a little in the instances of a fleet. `max_bandwidth` is in bytes per second, for all transfers of
    this process together; None is no limit.
    `direct`: cold local files are read past the page cache, which leaves nothing for a second load; see docs/storages.md.
    `trusted` is the folder that remembers which local files this host has verified; None, as with `recheck`: verify
    them at each load. `uploads` is the folder that remembers which parts of a file a publish has sent.
    """

    connections: int | None = None
    memory_bytes: int = 256 << 20
    retry_seconds: float = 60.0
    start_jitter: float | None = None
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


STORAGE_FIELDS = tuple(item.name for item in fields(StorageConfig) if item.name not in ("address", "retry_seconds"))
ENGINE_FIELDS = ("connections", "memory", "retry_seconds", "start_jitter", "max_bandwidth", "direct", "recheck")


def parse_size(text: str | int) -> int:
    """Bytes from `256MiB`, `1.5G` (powers of 1024, as rclone and docker read them) or a number.

    Raises InvalidConfig.
    """
    found = _SIZE.fullmatch(str(text).strip().upper())
    if not found:
        raise InvalidConfig(f"{text!r} is not a size: write bytes, or 512MiB, 8G")
    return int(Fraction(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


def parse_storage(address: str, table: Mapping[str, Any], where: str) -> StorageConfig:
    """One storage, from its table; `where` names that in errors. Raises InvalidConfig."""
    values = {key: value for key, value in table.items() if not key.startswith("_")}
    label = f"{where}: storage {address!r}"
    unknown = sorted(set(values) - set(STORAGE_FIELDS))
    if unknown:
        raise InvalidConfig(f"{label}: unknown field {unknown[0]!r}; there are {', '.join(STORAGE_FIELDS)}")
    if values.get("members") or values.get("kind") == ANY:
        raise InvalidConfig(f"{label}: only a table [storage.NAME] of hoist.toml can have members")
    values.pop("members", None)
    if not isinstance(values.get("url"), str) or not values["url"]:
        raise InvalidConfig(f"{label} has no url")
    if values.get("kind") not in (None, *KINDS):
        raise InvalidConfig(f"{label}: kind {values['kind']!r} is none of {', '.join((*KINDS, ANY))}")
    for key in ("path_style", "anonymous"):
        if key in values:
            values[key] = _boolean(values[key], f"{label}: {key}")
    if "accelerator" in values:
        values["accelerator"] = _addresses(values["accelerator"], f"{label}: accelerator")
    if "require_signature" in values:
        values["require_signature"] = _signers(values["require_signature"], _keys_folder(table), label)
    for key, value in values.items():
        if key not in ("path_style", "anonymous", "accelerator", "require_signature") and not isinstance(value, str):
            raise InvalidConfig(f"{label}: {key} must be a text")
    for key in ("url", "endpoint"):
        try:
            urlsplit(values.get(key) or "")
        except ValueError as error:
            raise InvalidConfig(f"{label}: {key} {values[key]!r} is none: {error}") from None
    found = StorageConfig(address=address, **values)
    if "_base" in table and not IS_URL.match(found.url):
        # A path in a file is relative to that file, as in any other configuration.
        return replace(found, url=str(Path(table["_base"]) / local_path(found.url, label)))
    return found


def is_any(table: Mapping[str, Any]) -> bool:
    """Whether a storage's table is that of a logical one."""
    return table.get("kind") == ANY or bool(table.get("members"))


def parse_any(
    address: str, table: Mapping[str, Any], where: str, storages: Mapping[str, StorageConfig], others: Collection[str]
) -> StorageConfig:
    """A logical storage, from its table; `storages` are those that it can have as members, `others` the logical ones.

    Raises InvalidConfig.
    """
    values = {key: value for key, value in table.items() if not key.startswith("_")}
    label = f"{where}: storage {address!r}"
    unknown = sorted(set(values) - {"kind", "members", "require_signature"})
    if unknown:
        theirs = unknown[0] in STORAGE_FIELDS
        why = f"no {unknown[0]}: its members have" if theirs else f"may have require_signature; not {unknown[0]!r}"
        raise InvalidConfig(f"{label}: a storage of kind {ANY} has kind and members, and {why}")
    if values.get("kind") not in (None, ANY):
        raise InvalidConfig(f"{label}: members are those of kind = {ANY!r}, not of {values['kind']!r}")
    names = _texts(values.get("members"))
    if not names or not all(names):
        raise InvalidConfig(f'{label}: members must name storages, in order of preference: members = ["eu", "us"]')
    for name in names:
        if name == address or name in others:
            raise InvalidConfig(
                f"{label}: member {name!r} is itself of kind {ANY}: name that one's members in its place"
            )
        if name not in storages:
            known = ", ".join(sorted(storages)) or "none"
            # A URL or a path needs a name first.
            new = "NAME" if "/" in name else name
            mend = f"add [storage.{new}] with its url" + (", and name that" if new != name else "")
            raise InvalidConfig(f"{label}: no storage is named {name!r}; there are {known}: {mend}")
        if names.count(name) > 1:
            raise InvalidConfig(f"{label}: member {name!r} is named twice")
    members = tuple(storages[name] for name in names)
    signers = _signers(values["require_signature"], _keys_folder(table), label) if "require_signature" in values else ()
    # What reads a URL finds a scheme of its own there, and not an empty path.
    return StorageConfig(address, f"{ANY}://{','.join(names)}", ANY, members=members, require_signature=signers)


def _texts(given: object) -> list[str] | None:
    """Texts without the spaces around them, from a list or from one text with commas; None for anything else."""
    texts = given.split(",") if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return None
    return [text.strip() for text in texts]


def _addresses(given: object, label: str) -> tuple[str, ...]:
    """URLs of accelerators, from a list or a text with commas."""
    texts = _texts(given)
    if texts is None:
        raise InvalidConfig(f"{label} must be a URL, or a list of them")
    found = tuple(dict.fromkeys(text.rstrip("/") for text in texts if text))
    for url in found:
        if not _SERVER.fullmatch(url):
            raise InvalidConfig(f"{label}: write http://HOST:PORT or https://HOST:PORT, not {url.rpartition('@')[2]!r}")
    return found


def _keys_folder(table: Mapping[str, Any]) -> Path:
    """Where paths of keys in a table begin: where its file is; what a variable says is of the working folder."""
    return Path(str(table.get("_keys", table.get("_base", ""))) or Path.cwd())


def _signers(given: object, folder: Path, label: str) -> tuple[str, ...]:
    """Public keys and identities, from a list or a text with commas; a path in a file is relative to that file."""
    texts = _texts(given)
    if texts is None:
        raise InvalidConfig(
            f"{label}: require_signature must be the path of a public key, IDENTITY@ISSUER, or a list of them"
        )
    found = [text for text in texts if text]
    if not found:
        raise InvalidConfig(f"{label}: require_signature names nobody: leave it out where no signature is wanted")
    return tuple(
        text if IDENTITY.fullmatch(text) else str(folder / local_path(text, f"{label}: require_signature"))
        for text in dict.fromkeys(found)
    )


def local_path(text: str, label: str) -> Path:
    """`text` as a path of this machine, with `~` for a home. Raises InvalidConfig, with `label`, if it cannot be one."""
    try:
        if "\0" not in text:
            return Path(text).expanduser()
    except RuntimeError:
        pass
    raise InvalidConfig(f"{label}: {text!r} is no path: it names a user who has no home, or has a NUL in it")


def parse_engine(base: EngineConfig, table: Mapping[str, Any], where: str) -> EngineConfig:
    """Lay a table over what was configured before. Raises InvalidConfig, with `where`."""
    unknown = sorted(set(table) - set(ENGINE_FIELDS))
    if unknown:
        raise InvalidConfig(f"{where}: unknown field {unknown[0]!r}; there are {', '.join(ENGINE_FIELDS)}")
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
            elif key == "start_jitter":
                found = replace(found, start_jitter=float(value))
            else:
                found = replace(found, retry_seconds=float(value))
        except (TypeError, ValueError, OverflowError, InvalidConfig) as error:
            raise InvalidConfig(f"{where}: {key}: {error}") from None
    many = found.connections is not None and not 1 <= found.connections <= 1024
    if many or not found.retry_seconds >= 0 or found.memory_bytes < 1 << 20:
        raise InvalidConfig(f"{where}: connections are 1 to 1024, retry_seconds 0 or more, memory at least 1MiB")
    if not 0 <= (found.start_jitter or 0) <= _MOST_JITTER:
        raise InvalidConfig(f"{where}: start_jitter is 0 (off) to {_MOST_JITTER:g} seconds")
    if found.max_bandwidth is not None and found.max_bandwidth < 1 << 10:
        raise InvalidConfig(f"{where}: max_bandwidth is bytes a second, at least 1KiB; 0 is no limit")
    return found


def cache_variables(env: Mapping[str, str]) -> dict[str, str]:
    """What HOIST_CACHE (a folder, `memory`, `on` or `off`) and HOIST_CACHE_SIZE say, as fields."""
    found = {"size": env["HOIST_CACHE_SIZE"]} if env.get("HOIST_CACHE_SIZE") else {}
    given = env.get("HOIST_CACHE")
    if not given:
        return found
    if given.lower() in TRUE + FALSE:
        return found | {"enabled": given}
    return found | {"enabled": "true", "folder": given}


def parse_cache(base: CacheConfig, table: Mapping[str, Any], where: str, folder: Path) -> CacheConfig:
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
    if text not in TRUE + FALSE:
        raise InvalidConfig(f"{label} must be true or false, not {value!r}")
    return text in TRUE
