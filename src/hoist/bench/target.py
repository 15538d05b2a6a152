"""One line of the table of targets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table; `met` is None where it takes a person to say."""

    work: str
    target: str
    measured: str
    met: bool | None
    beside: str = ""

    @property
    def row(self) -> list[str]:
        """Its cells."""
        return [self.work, self.target, self.measured, {True: "yes", False: "NO", None: "-"}[self.met], self.beside]
