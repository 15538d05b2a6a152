"""What a plan says: which versions and tags of one storage shall be in which others. Pure.

    [sync.production]
    from = "eu"                         # a storage of any kind
    to = ["us", "ap", "nas"]
    models = ["sd15/*", "llm/qwen:stable", "sdxl/base:v1"]  # NAME or NAME:VERSION-OR-TAG; default: all
    tags = ["stable", "latest"]         # patterns of the tags to keep in step; default: all
    keep = 3                            # newest versions of each model to bring; 0 or absent: all
    prune = false                       # remove in the targets what the plan does not want, and tags that the source has not
    interval = "5m"                     # for --watch
    max_bandwidth = "200MiB"            # for each direction

Paths in it are relative to its file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hoist.errors import InvalidConfig, UsageError
from hoist.settings import EngineConfig, parse_engine
from hoist.transfer.collect import parse_duration

FIELDS = ("from", "to", "models", "tags", "keep", "prune", "interval", "max_bandwidth")
DEFAULT_INTERVAL = 300.0
_WILD = "*?["
# What a pattern that can fit a name, a version or a tag is made of.
_NAME_SIGNS = re.compile(r"[a-z0-9._/*?!\[\]-]+")
_LABEL_SIGNS = re.compile(r"[A-Za-z0-9._*?!\[\]-]+")
_LABEL_WORDS = "letters, digits, '.', '_' and '-'"
_UNCLOSED = re.compile(r"\[[^\]]*$")


@dataclass(frozen=True, slots=True)
class ModelPattern:
    """Models by a pattern of their names; `label` is a pattern of versions and tags, None for all of them."""

    name: str
    label: str | None = None

    def names(self, name: str) -> bool:
        """Whether a model is meant."""
        return fnmatchcase(name, self.name)

    def labels(self, label: str) -> bool:
        """Whether a version or tag of such a model is meant."""
        return self.label is None or fnmatchcase(label, self.label)

    @property
    def exact(self) -> bool:
        """Whether it names one version or tag, and not whatever there is of some kind."""
        return self.label is not None and not _is_wild(self.label)

    def __str__(self) -> str:
        return self.name if self.label is None else f"{self.name}:{self.label}"


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """One `[sync.NAME]`. `keep` 0: all versions; `max_bandwidth` in bytes a second, None: as the engine is configured."""

    name: str
    source: str
    targets: tuple[str, ...]
    models: tuple[ModelPattern, ...] = (ModelPattern("*"),)
    tags: tuple[str, ...] = ("*",)
    keep: int = 0
    prune: bool = False
    interval_seconds: float = DEFAULT_INTERVAL
    max_bandwidth: int | None = None

    def names_model(self, name: str) -> bool:
        """Whether the plan says anything of a model."""
        return any(pattern.names(name) for pattern in self.models)

    def keeps_tag(self, name: str, tag: str) -> bool:
        """Whether the plan keeps a tag in step."""
        meant = any(pattern.names(name) and pattern.labels(tag) for pattern in self.models)
        return meant and any(fnmatchcase(tag, pattern) for pattern in self.tags)

    def only_names(self) -> tuple[str, ...] | None:
        """The names of the models, if the plan names each: then nothing else has to be listed. None if it has patterns."""
        names = dict.fromkeys(pattern.name for pattern in self.models)
        return None if any(map(_is_wild, names)) else tuple(names)


def parse_plan(name: str, table: Mapping[str, Any], where: str, base: Path | None = None) -> SyncPlan:
    """The plan of a table; `where` names it in errors, and paths in it are relative to `base`. Raises InvalidConfig."""
    values = {key: value for key, value in table.items() if not key.startswith("_")}
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise InvalidConfig(f"{where}: unknown field {unknown[0]!r}; there are {', '.join(FIELDS)}")
    source = values.get("from")
    if not isinstance(source, str) or not source:
        raise InvalidConfig(f'{where} has no from: the storage that the others shall be in step with, as from = "eu"')
    targets = _texts(values.get("to"), f'{where}: to (the storages that are kept in step, as to = ["us", "ap"])')
    source, *others = (_from_base(address, base) for address in (source, *targets))
    if source in others:
        raise InvalidConfig(f"{where}: {source!r} stands in from and in to")
    patterns = _texts(values.get("models", ["*"]), f"{where}: models")
    tags = _texts(values.get("tags", ["*"]), f"{where}: tags", empty=True)
    return SyncPlan(
        name=name,
        source=source,
        targets=tuple(dict.fromkeys(others)),
        models=tuple(_pattern(text, where) for text in dict.fromkeys(patterns)),
        tags=tuple(_tag_pattern(text, where) for text in dict.fromkeys(tags)),
        keep=_keep(values.get("keep", 0), where),
        prune=_flag(values.get("prune", False), f"{where}: prune"),
        interval_seconds=parse_interval(values.get("interval", DEFAULT_INTERVAL), f"{where}: interval"),
        max_bandwidth=_bandwidth(values.get("max_bandwidth"), where),
    )


def parse_interval(value: object, where: str) -> float:
    """Seconds between two runs, from `90s`, `5m`, `24h` or a number. Raises InvalidConfig."""
    try:
        seconds = parse_duration(str(value))
    except UsageError as error:
        raise InvalidConfig(f"{where}: {error}") from None
    if seconds < 1:
        raise InvalidConfig(f"{where}: at least one second, not {value}")
    return seconds


def _is_wild(text: str) -> bool:
    return any(sign in text for sign in _WILD)


def _from_base(address: str, base: Path | None) -> str:
    """A path of a file is relative to that file, as everywhere in it."""
    return str(base / address) if base and address.startswith(("./", "../")) else address


def _pattern(text: str, where: str) -> ModelPattern:
    name, colon, label = text.partition(":")
    if not name or (colon and not label):
        raise InvalidConfig(
            f"{where}: models: {text!r} is no pattern: write NAME or NAME:VERSION, as sd15/* or a/b:stable"
        )
    _check_fits(name, _NAME_SIGNS, f"{where}: models: {text!r}", "lower-case letters, digits, '.', '_', '-' and '/'")
    if colon:
        _check_fits(label, _LABEL_SIGNS, f"{where}: models: {text!r}", _LABEL_WORDS)
    return ModelPattern(name, label if colon else None)


def _tag_pattern(text: str, where: str) -> str:
    _check_fits(text, _LABEL_SIGNS, f"{where}: tags: {text!r}", _LABEL_WORDS)
    return text


def _check_fits(pattern: str, signs: re.Pattern[str], label: str, words: str) -> None:
    """Refuse what can fit nothing: with it a plan would be in step for ever, and bring nothing."""
    if not signs.fullmatch(pattern):
        raise InvalidConfig(f"{label} fits nothing: write {words}, or patterns with * ? [a-z]")
    if _UNCLOSED.search(pattern):
        raise InvalidConfig(f"{label} fits nothing: close the bracket, as in [a-z]*")


def _texts(value: object, label: str, *, empty: bool = False) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise InvalidConfig(f"{label} must be a list of texts")
    if not texts and not empty:
        raise InvalidConfig(f"{label} must not be empty")
    return texts


def _keep(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidConfig(f"{where}: keep is how many of the newest versions of each model to bring, or 0 for all")
    return value


def _flag(value: object, label: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidConfig(f"{label} must be true or false, not {value!r}")
    return value


def _bandwidth(value: object, where: str) -> int | None:
    """As in [engine]."""
    return None if value is None else parse_engine(EngineConfig(), {"max_bandwidth": value}, where).max_bandwidth
