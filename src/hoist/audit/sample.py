"""Which blocks a sampled audit reads: chosen by a seed, and bounded in bytes. Pure."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from hoist.audit.finding import Span
from hoist.errors import UsageError
from hoist.model.blocks import FileBlocks
from hoist.model.cut import BLOCK_TARGET
from hoist.settings import parse_size

# Of a share: as much as an hour's reading of a slow store, and not all night.
MOST_BYTES = 16 << 30


@dataclass(frozen=True, slots=True)
class Sample:
    """How much of each storage to read: a `share` of its bytes, at most `most` of them (None: no bound).

    A share of 0 reads none, of 1 (without a bound) all.
    """

    share: float
    most: int | None = None

    @property
    def none(self) -> bool:
        """Whether no bytes of files are read."""
        return self.share == 0 or self.most == 0

    @property
    def whole(self) -> bool:
        """Whether every byte is read."""
        return self.share >= 1 and self.most is None

    def share_of(self, size: int) -> float:
        """The share of a storage of `size` bytes that is read."""
        if self.most is None or not size:
            return self.share
        return min(self.share, self.most / size)

    def __str__(self) -> str:
        if self.whole:
            return "whole"
        if self.none:
            return "none"
        return f"{self.most} bytes" if self.share >= 1 else f"{self.share:.4%}".rstrip("0%").rstrip(".") + "%"


WHOLE, NO_BYTES = Sample(1.0), Sample(0.0)


def parse_sample(text: str) -> Sample:
    """A sample from `5%`, from a size such as `2GiB`, or from `whole` or `none`. Raises UsageError."""
    if text in ("whole", "none"):
        return WHOLE if text == "whole" else NO_BYTES
    mend = f"{text!r} is no sample: write a share of the bytes, as 5%, or a size, as 2GiB; or whole, or none"
    if text.strip().endswith("%"):
        try:
            share = float(text.strip().removesuffix("%")) / 100
        except ValueError:
            raise UsageError(mend) from None
        if not 0 < share <= 1:
            raise UsageError(f"{mend}; a share is above 0% and at most 100%")
        return Sample(share, None if share == 1 else MOST_BYTES)
    try:
        return Sample(1.0, parse_size(text))
    except UsageError:
        raise UsageError(mend) from None


class Chooser:
    """Chooses blocks of versions, one version after the other, so that all together are `share` of the bytes.

    What is chosen is never more than that and one block. The same seed and versions give the same blocks.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 it shall be repeatable, not secret
        # Bytes that may still be read; not 0 at first, or what is looked at first would be looked at less.
        self._left = self._random.random() * BLOCK_TARGET * share

    def order(self, items: Sequence[str]) -> list[str]:
        """The versions in the order in which they take their turns."""
        found = sorted(items)
        self._random.shuffle(found)
        return found

    def grant(self, size: int) -> float:
        """Bytes that may be read of the next version, of `size` bytes; what it leaves goes to those behind it."""
        self._left += size * self._share
        return self._left

    def choose(self, name: str, files: Mapping[str, FileBlocks]) -> dict[str, list[Span]]:
        """The blocks to read of a version, by path, within what was granted last; each is as likely as another."""
        counts = list(accumulate((len(blocks) for blocks in files.values()), initial=0))
        paths = list(files)
        if self._left >= sum(blocks.size for blocks in files.values()):
            self._left -= sum(blocks.size for blocks in files.values())
            return {path: [blocks.span(index) for index in range(len(blocks))] for path, blocks in files.items()}
        chance = random.Random(f"{self._seed} {name}")  # noqa: S311
        taken: set[int] = set()
        found: dict[str, list[Span]] = {}
        while self._left > 0 and len(taken) < counts[-1]:
            number = chance.randrange(counts[-1])
            if number in taken:
                continue
            taken.add(number)
            place = bisect_right(counts, number) - 1
            begin, end = files[paths[place]].span(number - counts[place])
            self._left -= end - begin
            found.setdefault(paths[place], []).append((begin, end))
        return {path: sorted(found[path]) for path in paths if path in found}
