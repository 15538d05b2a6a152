"""The suite that every storage passes, shipped so that your own storage can be held to it too.

    class TestMyStorage(StorageConformance):
        @pytest.fixture
        def storage(self) -> Iterator[Storage]:
            with MyStorage(...) as opened:   # empty: no version, tag or unfinished publish
                yield opened

It speaks only `hoist.storage.base`. Where a storage cannot do something, its class names the gap (`exclusive = False`);
see `Conformance` for the attributes. It needs pytest and hypothesis: pip install 'hoist[test]'.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in ("base", "listing", "publishing", "reading")))
pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("claiming", "staging", "packing", "tagging", "moving", "signing", "racing")),
    *(f"{__name__}.{part}" for part in ("modelled", "restoring")),
)

from hoist.testing.conformance.base import Conformance, Content, publish, read_file  # noqa: E402
from hoist.testing.conformance.claiming import ClaimingConformance  # noqa: E402
from hoist.testing.conformance.listing import ListingConformance  # noqa: E402
from hoist.testing.conformance.modelled import ModelledConformance  # noqa: E402
from hoist.testing.conformance.moving import MovingConformance  # noqa: E402
from hoist.testing.conformance.packing import PackingConformance  # noqa: E402
from hoist.testing.conformance.publishing import PublishingConformance  # noqa: E402
from hoist.testing.conformance.racing import RacingConformance  # noqa: E402
from hoist.testing.conformance.reading import ReadingConformance  # noqa: E402
from hoist.testing.conformance.restoring import RestoringConformance  # noqa: E402
from hoist.testing.conformance.signing import SigningConformance  # noqa: E402
from hoist.testing.conformance.staging import StagingConformance  # noqa: E402
from hoist.testing.conformance.tagging import TaggingConformance  # noqa: E402


class StorageConformance(
    ListingConformance,
    PublishingConformance,
    ClaimingConformance,
    StagingConformance,
    PackingConformance,
    ReadingConformance,
    RestoringConformance,
    TaggingConformance,
    MovingConformance,
    SigningConformance,
    RacingConformance,
    ModelledConformance,
):
    """Everything that a storage promises. Subclass it as `Test...` with a fixture `storage`, fresh for each test."""


__all__ = ["Conformance", "Content", "StorageConformance", "publish", "read_file"]
