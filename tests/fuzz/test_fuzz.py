"""Every parser's property on mutated and made-up inputs, and on everything that a campaign has found before.

The coverage-guided campaign runs the same targets for as long as one likes: `make fuzz`; docs/reliability.md has what
it found.
"""

from __future__ import annotations

import random
import tracemalloc
import warnings
from pathlib import Path

import pytest
from fuzz_table import TARGETS
from fuzz_target import Target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REGRESSIONS = sorted((Path(__file__).parent / "regressions").iterdir())
# The inputs have a few KiB; what a parser takes for one must not depend on what the input claims.
MOST_BYTES = 64 << 20
EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
EXAMPLES = {"checkpoint": 150, "config": 150, "answer": 150, "tag": 300}

pytestmark = [pytest.mark.filterwarnings("ignore:Detected pickle protocol"), pytest.mark.matrix]


def mutated(data: bytes, words: list[bytes], rng: random.Random) -> bytes:
    """A few small changes: bits, words of the format, pieces cut out, doubled or moved, numbers made extreme."""
    raw = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(6):
            case 0 if raw:
                raw[at % len(raw)] ^= 1 << rng.randrange(8)
            case 1:
                raw[at:at] = rng.choice(words)
            case 2:
                del raw[at : at + rng.choice((1, 2, 4, 8, 64))]
            case 3:
                begin = rng.randrange(len(raw) + 1)
                raw[at:at] = raw[begin : begin + rng.choice((1, 4, 16, 256))]
            case 4:
                raw[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"9999"))
            case _:
                raw[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(raw)


@EACH
def test_seeds_are_accepted(target: Target) -> None:
    """A target whose seeds are refused would look at nothing."""
    assert any(target.check(data) for data in target.seeds())


@EACH
def test_mutated_inputs(target: Target) -> None:
    seeds, words = list(target.seeds()), list(target.words)

    @settings(max_examples=EXAMPLES.get(target.name, 400), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(seeds), st.randoms(use_true_random=False))
    def check(seed: bytes, rng: random.Random) -> None:
        target.check(mutated(seed, words, rng))

    check()


@EACH
def test_made_up_inputs(target: Target) -> None:
    words = st.lists(st.one_of(st.sampled_from(list(target.words)), st.binary(max_size=12)), max_size=20)

    @settings(max_examples=EXAMPLES.get(target.name, 200), deadline=None, suppress_health_check=list(HealthCheck))
    @given(words.map(b"".join))
    def check(data: bytes) -> None:
        target.check(data)

    check()


@EACH
def test_memory_is_bounded_by_the_input(target: Target) -> None:
    seeds, words, rng = list(target.seeds()), list(target.words), random.Random(5)
    target.check(seeds[0])
    tracemalloc.start()
    try:
        for _ in range(30):
            target.check(mutated(rng.choice(seeds), words, rng))
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.name)
def test_what_was_found_before(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TARGETS[path.name.partition("-")[0]].check(path.read_bytes())
