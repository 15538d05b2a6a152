"""Where the models are, as what is deployed will see it: from this machine's storage to mounts, buckets and variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hoist.config import StorageConfig
from hoist.deploy.secrets import refuse_secrets
from hoist.errors import InvalidConfig, UsageError
from hoist.model.reference import Location, Reference, parse_location
from hoist.settings import KINDS
from hoist.signing.trust import is_identity
from hoist.storage import SCHEMES, is_bucket, kind_of


@dataclass(frozen=True, slots=True)
class Model:
    """A version that is served, and the name that requests use for it; None: `hoist serve` makes one."""

    name: str | None
    reference: Reference

    def at(self, storage: str) -> str:
        """What `hoist serve --models` takes, with the storage as it is called there."""
        location = self.location(storage)
        return f"{self.name}={location}" if self.name else location

    def location(self, storage: str) -> str:
        """Its location, with the storage as it is called there."""
        return str(Location(storage, self.reference))


@dataclass(frozen=True, slots=True)
class Source:
    """The storage of the models; `kind` is how they are to be read: image, nas, oss or accl."""

    kind: str
    config: StorageConfig

    @property
    def scheme(self) -> str:
        """Of the storage's URL; `file` for a path."""
        return self.config.scheme

    @property
    def is_bucket(self) -> bool:
        """Whether the models lie in an object store."""
        return is_bucket(self.config)

    @property
    def bucket(self) -> tuple[str, str]:
        """The bucket's name and the prefix in it, without slashes at its ends."""
        parts = urlsplit(self.config.url)
        return parts.netloc, parts.path.strip("/")

    @property
    def name(self) -> str:
        """What the storage is called where the function runs: as in hoist.toml, or by its kind."""
        name = self.config.address
        return re.sub(r"[.-]", "_", name) if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) else self.kind

    def variables(self, **more: str | None) -> dict[str, str]:
        """The variables that tell Hoist of a bucket; `more` are fields that differ there. None of them is a secret."""
        config = self.config
        fields = {
            "url": config.url,
            "kind": "accl" if self.kind == "accl" and not config.accelerator else None,
            "region": config.region,
            "endpoint": config.endpoint,
            "path_style": None if config.path_style is None else str(config.path_style).lower(),
            "anonymous": "true" if config.anonymous else None,
            "accelerator": ",".join(config.accelerator) or None,
            "require_signature": None if self._untold_signers else ",".join(config.require_signature) or None,
            **more,
        }
        return {f"HOIST_STORAGE_{self.name.upper()}_{key.upper()}": value for key, value in fields.items() if value}

    @property
    def left_out(self) -> list[str]:
        """What of the storage's configuration means nothing elsewhere, in words."""
        found = []
        if self.is_bucket and self.config.ca_bundle:
            found.append("ca_bundle is a file of this machine: put it into the image, and name it there")
        if self.is_bucket and self.config.profile:
            found.append("profile is of this machine's ~/.aws: give the function a role, or a secret, of its own")
        if self._untold_signers:
            place = f"HOIST_STORAGE_{self.name.upper()}" if self.is_bucket else "HOIST"
            found.append(
                "require_signature is not set there, so that nothing has to be signed: put the key into the image "
                f"({self._untold_signers}), and name it as {place}_REQUIRE_SIGNATURE"
            )
        return found

    @property
    def _untold_signers(self) -> str:
        """Those who have to have signed, and of whom no variable tells: files of this machine, and all of a mount's."""
        return ", ".join(each for each in self.config.require_signature if not (self.is_bucket and is_identity(each)))


def source_of(config: StorageConfig, kind: str | None, known_secrets: Iterable[str] = ()) -> Source:
    """How the models of a storage are to be read: as its kind says, or as `kind` does.

    Raises InvalidConfig where a kind cannot be had of that storage; UsageError where its address holds a secret.
    """
    if config.members:
        names = ", ".join(member.address for member in config.members)
        raise InvalidConfig(
            f"storage {config.address!r} is several as one: what is deployed names one of them: {names}"
        )
    table = {"url": config.url, "endpoint": config.endpoint or "", "accelerator": list(config.accelerator)}
    refuse_secrets(table, known_secrets, f"storage {config.address!r}" if "@" not in config.address else "the storage")
    found = Source(kind or kind_of(config), config)
    if found.scheme not in SCHEMES:
        raise InvalidConfig(f"storage {config.address!r}: no storage speaks {found.scheme}://")
    bucket = found.kind in ("oss", "accl")
    if bucket != found.is_bucket and (bucket or kind is None):
        raise InvalidConfig(
            f"storage {config.address!r} is no object store, which {found.kind} is: give --storage nas or image"
        )
    return found


def parse_models(texts: Iterable[str]) -> tuple[str, tuple[Model, ...]]:
    """The one storage of `[NAME=]LOCATION ...`, and the models. Raises UsageError, InvalidReference."""
    storages: dict[str, None] = {}
    models = []
    for text in texts:
        name, mark, location = text.partition("=")
        named = bool(mark) and "//" not in name
        found = parse_location(location if named else text)
        storages[found.storage] = None
        models.append(Model(name if named else None, found.reference))
    if not models:
        raise UsageError("which model? Give its location, as oss//sd15/anything:v5")
    if len(storages) > 1:
        raise UsageError(
            f"the models lie in several storages ({', '.join(storages)}): deploy from one, hoist copy brings them there"
        )
    return next(iter(storages)), tuple(models)


def name_of(models: Iterable[Model]) -> str:
    """A name for what is deployed that every platform takes: the first model's, of letters, digits and hyphens."""
    first = next(iter(models))
    text = re.sub(r"[^a-z0-9]+", "-", (first.name or first.reference.name.rpartition("/")[2]).lower()).strip("-")
    return f"m-{text}"[:40].rstrip("-") if not text[:1].isalpha() else text[:40].rstrip("-")


def check_name(name: str) -> str:
    """Return a name that is a DNS label, as Kubernetes and Function Compute take it. Raises UsageError."""
    if not re.fullmatch(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?", name):
        raise UsageError(f"--name {name!r}: small letters, digits and hyphens, a letter first, 40 at most")
    return name


def check_kind(kind: str | None) -> str | None:
    """Return a kind, or None. Raises UsageError."""
    if kind not in (None, *KINDS):
        raise UsageError(f"--storage {kind!r} is none of {', '.join(KINDS)}")
    return kind


def merged(*tables: Mapping[str, str]) -> dict[str, str]:
    """Variables laid over each other, the later ones winning, in the order of their names."""
    found = {key: value for table in tables for key, value in table.items()}
    return dict(sorted(found.items()))
