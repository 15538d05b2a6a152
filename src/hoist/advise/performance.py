"""What a storage does to a cold start, in few numbers: what the advisor's formulas and the simulator both work from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Performance:
    """One storage as the instances of a fleet meet it. Rates are bytes a second, times seconds.

    `setup_seconds` go by before the first byte: network access, a mount, an image's acceleration. `instance_rate` is what
    one instance can draw by this storage's protocol, its link aside; `total_rate` what all draw together (`math.inf`: no
    limit is known); `origin_rate` what the place behind a read cache gives, which brings each byte once (None: it is no
    read cache). The bytes cross the medium `reads` times in a first load: once by Hoist, twice by a loader that hashes the
    file first; with `page_cache` only the first of them does, and the others are the host's memory's. `rest_seconds` are
    those after the bytes: deserialize, transfer and warm-up. `jitter` is the relative standard deviation of the set-up.
    """

    kind: str
    setup_seconds: float
    instance_rate: float
    total_rate: float
    origin_rate: float | None
    reads: float
    page_cache: bool
    rest_seconds: float
    jitter: float

    def __post_init__(self) -> None:
        assert self.setup_seconds >= 0 and self.rest_seconds >= 0 and self.jitter >= 0, "no time is negative"
        assert self.instance_rate > 0 and self.total_rate > 0 and self.reads > 0, "no rate is zero"
        assert self.origin_rate is None or self.origin_rate > 0, "no rate is zero"

    @property
    def medium_reads(self) -> float:
        """How often the bytes come over the medium: once where the host's page cache has them afterwards."""
        return min(self.reads, 1.0) if self.page_cache else self.reads
