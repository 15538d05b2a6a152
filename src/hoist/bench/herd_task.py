"""What an instance of a herd is told to do, as it is sent to its process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Task:
    """What one instance does: load `location` on the host `namespace`, or below `rates`: files, and bytes a second.

    `jitter`: the most seconds that it waits before the first weights, as instances of a fleet do.
    """

    location: str
    namespace: str | None = None
    rates: tuple[tuple[str, float], ...] = ()
    jitter: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As it is sent to the process that starts instances."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The task that was sent."""
        rates = tuple((file, rate) for file, rate in values["rates"])
        return cls(values["location"], values["namespace"], rates, values["jitter"])
