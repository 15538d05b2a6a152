"""A bit flipped anywhere, at rest or on the way: an error, and where there is none, the right bytes.

Bits of every file of a small version are flipped in turn: of its weights and its manifest every third, of what is
smaller every one; a way through a server flips a bit of every third byte (HOIST_TEST_EVERY_BIT=1: every bit). Of a large
file, random bits.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import hoist
from hoist.errors import DamagedBlock, HoistError, InvalidManifest
from hoist.model.reference import parse_reference
from hoist.progress import Progress
from hoist.storage.tree import TreeStorage
from hoist.testing.servers import FaultServer, Rule
from hoist.testing.servers.fault_kinds import Flip
from hoist.transfer.verify import verify_version
from makers import Raw, directory_storage, noise, opened, publish, safetensors_bytes
from places import public_bucket

EVERY = os.environ.get("HOIST_TEST_EVERY_BIT") == "1"
# Each position in a byte comes as often as any other.
STEP = 1 if EVERY else 3 if os.environ.get("HOIST_TEST_ONE_IN", "1") == "1" else 7
MIB = 1 << 20
TENSORS = {f"block.{n}.weight": torch.arange(64, dtype=torch.float32) * (n + 1) for n in range(4)}
REFERENCE = parse_reference("m/small:v1")
HIDDEN = "models/.hoist/versions/m/small/v1"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage `models` below the folder: one version with a safetensors file and a checkpoint, about 2 KiB each, and
    a tag."""
    root = tmp_path_factory.mktemp("flips")
    raws = [Raw(name, "F32", [64], tensor.numpy().tobytes()) for name, tensor in TENSORS.items()]
    (root / "source").mkdir()
    (root / "source/m.safetensors").write_bytes(safetensors_bytes(raws, {"format": "pt", "note": noise(150).hex()}))
    torch.save({"w": torch.arange(120.0)}, root / "source/m.ckpt")
    with directory_storage(root / "models") as storage:
        publish(root / "source", storage, REFERENCE, tags=["stable"])
    return root


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """One bit of a file is another, for the length of a `with` block."""
    with path.open("r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, bit // 8)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit % 8]), bit // 8)
        try:
            yield
        finally:
            os.pwrite(file.fileno(), bytes([byte]), bit // 8)


def writable(path: Path) -> int:
    """The file's bits; it can be written afterwards, which a published file cannot."""
    path.chmod(0o644)
    return 8 * path.stat().st_size


def right(place: str) -> bool:
    """Whether a load gives the right tensors. Raises what the load does."""
    found = hoist.load_file(place, "m.safetensors")
    return found.keys() == TENSORS.keys() and all(found[name].equal(TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt"])
def test_bits_of_a_file_at_rest(small: Path, name: str) -> None:
    path = small / "models/m/small/v1" / name
    storage = directory_storage(small / "models")
    version = opened(storage, REFERENCE)
    for bit in range(0, writable(path), STEP):
        with flipped(path, bit), pytest.raises(DamagedBlock, match=name):
            version.read(name)
    assert version.read(name) == (small / "source" / name).read_bytes()


LOADS: dict[str, Callable[[str], object]] = {
    "load_file": lambda place: hoist.load_file(place, "m.safetensors"),
    "load_checkpoint": lambda place: hoist.load_checkpoint(place, "m.ckpt"),
}


@pytest.mark.parametrize("load", LOADS)
def test_one_bit_of_every_byte_at_rest_and_mapped(small: Path, load: str) -> None:
    path = small / "models/m/small/v1" / ("m.ckpt" if load == "load_checkpoint" else "m.safetensors")
    for byte in range(0, writable(path) // 8, STEP):
        with flipped(path, 8 * byte + byte % 8), pytest.raises(DamagedBlock):
            LOADS[load](f"{small}/models//m/small:v1")
    LOADS[load](f"{small}/models//m/small:v1")


@pytest.fixture
def flipping(small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """The same storage as a public bucket, `here`."""
    monkeypatch.setenv("HOIST_RETRY_SECONDS", "0")
    with public_bucket(small, monkeypatch) as server:
        yield server


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt"])
def test_one_bit_of_every_byte_on_the_way(small: Path, flipping: FaultServer, name: str) -> None:
    bits = range(8 * (small / "source" / name).stat().st_size)
    with hoist.open("here//m/small:v1") as version:
        for bit in bits if EVERY else (8 * byte + byte % 8 for byte in range(0, len(bits) // 8, STEP)):
            flipping.plan(Rule(Flip(at=bit), path=f"*/{name}"))
            with pytest.raises(DamagedBlock):
                version.read(name)
            flipping.plan(Rule(Flip(at=bit), path=f"*/{name}", count=1))
            assert version.read(name) == (small / "source" / name).read_bytes()


def test_every_bit_of_the_block_table(small: Path) -> None:
    storage = directory_storage(small / "models")
    blob = opened(storage, REFERENCE).manifest.blocks.digest.replace(":", "-")
    for bit in range(writable(small / HIDDEN / blob)):
        with flipped(small / HIDDEN / blob, bit), pytest.raises(InvalidManifest, match="block table"):
            _ = opened(storage, REFERENCE).table


def test_bits_of_the_manifest(small: Path) -> None:
    """By its tag or digest each bit counts; by its label those do that say where bytes are and what they should be."""
    storage = directory_storage(small / "models")
    digest = opened(storage, REFERENCE).manifest.digest
    path, refused = small / HIDDEN / "manifest.json", 0
    for bit in range(0, writable(path), STEP):
        with flipped(path, bit):
            for text in ("m/small:stable", f"m/small@{digest}") if bit % 8 == bit // 8 % 8 else ("m/small:stable",):
                with pytest.raises(HoistError):
                    opened(storage, parse_reference(text))
            refused += not _reads_rightly(storage, small)
    assert refused > 4 * path.stat().st_size // STEP


def _reads_rightly(storage: TreeStorage, small: Path) -> bool:
    try:
        version = opened(storage, REFERENCE)
        found = {name: version.read(name) for name in version.files}
    except HoistError:
        return False
    # Nothing but the right files under their right names, or under a name that the storage has no file for.
    assert found == {path.name: path.read_bytes() for path in (small / "source").iterdir()}
    return True


def test_every_bit_of_a_tag(small: Path) -> None:
    storage = directory_storage(small / "models")
    path, digest = small / "models/.hoist/tags/m/small/@stable", opened(storage, REFERENCE).manifest.digest
    for bit in range(writable(path)):
        with flipped(path, bit):
            try:
                assert opened(storage, parse_reference("m/small:stable")).manifest.digest == digest
            except HoistError as error:
                assert str(error)


def test_every_bit_of_the_config(small: Path) -> None:
    """Nothing that brings bytes reads it: a load is right all the same."""
    storage = directory_storage(small / "models")
    blob = opened(storage, REFERENCE).manifest.config.digest.replace(":", "-")
    for bit in range(0, writable(small / HIDDEN / blob), 7):
        with flipped(small / HIDDEN / blob, bit):
            assert _reads_rightly(storage, small)


def test_random_bits_of_a_large_file(tmp_path: Path) -> None:
    raws = [Raw(f"t{n}", "U8", [3 * MIB], noise(3 * MIB, n)) for n in range(8)]
    (tmp_path / "big.safetensors").write_bytes(safetensors_bytes(raws))
    storage = directory_storage(tmp_path / "models")
    publish(tmp_path / "big.safetensors", storage, REFERENCE)
    path, rng = tmp_path / "models/m/small/v1/big.safetensors", random.Random(3)
    bits = writable(path)
    for bit in [0, bits - 1, *(rng.randrange(bits) for _ in range(25))]:
        with flipped(path, bit):
            (damaged,) = verify_version(opened(storage, REFERENCE), Progress()).damaged
            assert damaged.begin <= bit // 8 < damaged.end
            with pytest.raises(DamagedBlock):
                hoist.load_file(f"{tmp_path}/models//m/small:v1")
    assert not verify_version(opened(storage, REFERENCE), Progress()).damaged
