"""What is said of a file that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["corrected", "wrong", "kept", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`corrected`: changed; `wrong`: it does not hold, and only the user knows the mend; `kept`: not understood, left as it
    is; `note`: worth knowing."""

    level: Level
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.text}"
