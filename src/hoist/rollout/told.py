"""What a rollout tells while it goes on."""

from __future__ import annotations

from hoist.rollout.outcome import Checked, RegionBack, RegionRolled
from hoist.storage.base import Tag, Version
from hoist.transfer.copy import Copied


class Told:
    """Hears of each step, in the thread that makes it. This one is silent; say what you want to hear."""

    def found(self, version: Version, digest: str, source: str) -> None:
        """Which version it is, and in which storage it was found."""

    def brought(self, region: str, copied: Copied | None) -> None:
        """A region has the version; None: it had it already."""

    def moving(self) -> None:
        """All regions have the version: tags move from here on, and whoever ends this ends it in good order."""

    def moved(self, region: str, before: Tag | None, *, already: bool) -> None:
        """The tag names the version there."""

    def checking(self, region: str) -> None:
        """The check begins."""

    def checked(self, region: str, checked: Checked) -> None:
        """The check has ended."""

    def waiting(self, seconds: float, region: str) -> None:
        """So long, before the next region."""

    def returning(self, why: str) -> None:
        """The regions that were moved go back."""

    def returned(self, region: RegionRolled) -> None:
        """What became of one of them."""

    def rolled_back(self, region: RegionBack) -> None:
        """What became of a region of a rollback."""
