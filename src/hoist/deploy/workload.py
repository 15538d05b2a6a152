"""What is deployed, whatever the platform: an image in which `hoist serve` answers requests with models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hoist.deploy.secrets import check_variable, hide_user
from hoist.deploy.source import Model, Source
from hoist.errors import UsageError

PORT = 9000
"""Function Compute's own port, and so `hoist serve`'s."""
DRAIN_SECONDS = 30
_HANDLER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_IMAGE = re.compile(r"(?!.*//)[A-Za-z0-9][\w.:/-]*(?:@sha256:[0-9a-f]{64})?|\$\{[^{}]*\}")
_SIZE = re.compile(r"[0-9.]+\s*(?:[KMGT]i?)?B?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Workload:
    """One function. `env` are the user's own variables; sizes of memory stand as they were given, as `12GiB`."""

    name: str
    models: tuple[Model, ...]
    source: Source
    handler: str
    image: str
    gpu: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 1
    device_memory: str | None = None
    host_memory: str | None = None

    def __post_init__(self) -> None:
        if not _HANDLER.fullmatch(self.handler):
            raise UsageError(f"--handler {self.handler!r} is not MODULE:NAME, as app:Handler")
        if not _IMAGE.fullmatch(self.image):
            raise UsageError(f"--image {hide_user(self.image)!r} is no image's name, as registry.example.com/sd:v5")
        if not 1 <= self.concurrency <= 200:
            raise UsageError(f"--concurrency is 1 to 200, not {self.concurrency}")
        for option, value in (("--device-memory", self.device_memory), ("--host-memory", self.host_memory)):
            if value is not None and not _SIZE.fullmatch(value):
                raise UsageError(f"{option} {value!r} is no size, as 12GiB")
        for name, value in self.env.items():
            check_variable(name, value)

    def serve(self, storage: str) -> list[str]:
        """The words after `hoist`: with the storage as it is called where this runs."""
        words = ["serve", self.handler, "--models", *(model.at(storage) for model in self.models)]
        words += ["--device", "cuda" if self.gpu else "cpu", "--drain", str(DRAIN_SECONDS)]
        for option, value in (("--device-memory", self.device_memory), ("--host-memory", self.host_memory)):
            words += [option, value] if value else []
        return words + (["--concurrency", str(self.concurrency)] if self.concurrency > 1 else [])


def parse_env(texts: Iterable[str]) -> dict[str, str]:
    """Variables of `NAME=VALUE`. Raises UsageError."""
    found = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError("--env wants NAME=VALUE" + (f", not {name!r}" if not mark else ""))
        found[name] = value
    return found
