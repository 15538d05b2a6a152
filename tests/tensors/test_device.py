"""Staged destinations give what host ones do; on the CPU the same path runs without a stream."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path

import pytest
import safetensors.torch
import torch

import hoist
from hoist.config import EngineConfig
from hoist.errors import DamagedBlock, HoistError, LocalError
from hoist.read.engine import Engine
from hoist.read.plan import Request
from hoist.storage.base import Storage, Traits
from hoist.storage.wrap import Faulty, Latency
from hoist.tensors.checkpoint import Checkpoint
from hoist.tensors.device import Destination, HostDestination, StagedDestination, Staging, make_destination, view_tensor
from hoist.tensors.index import read_index
from hoist.tensors.load import Loader
from hoist.tensors.place import Loading, MakeDestination
from makers import Raw, memory_storage, noise, opened, put_version, safetensors_bytes

CPU = torch.device("cpu")
BLOCK = 4096
TENSORS = {f"t{n}": torch.arange(700.0 * n).half() for n in range(12)} | {"ids": torch.arange(99)}


def staged(size: int, device: torch.device, staging: Staging) -> Destination:
    return StagedDestination(size, device, staging)


def ten_byte_slots() -> Staging:
    staging = Staging()
    staging.need(10)
    return staging


def stored(data: bytes) -> Storage:
    storage = memory_storage()
    put_version(storage, {"f": data}, BLOCK)
    storage.traits = Traits(request_bytes=2 * BLOCK, connections=6)
    return storage


def load(storage: Storage, make: MakeDestination, device: torch.device = CPU) -> dict[str, torch.Tensor]:
    version = opened(storage)
    index = read_index([version.source("f")], version.engine)
    return Loader(version.engine, device, make=make).load(index, list(index.by_name))


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].cpu().equal(tensor), name


def test_staged_and_host_give_equal_tensors() -> None:
    storage = stored(safetensors.torch.save(TENSORS))
    same(load(storage, staged), TENSORS)
    same(load(storage, make_destination), TENSORS)


@pytest.mark.parametrize("most", [2, 3, 16])
def test_few_slots_hold_the_readers_back_and_nothing_is_lost(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.tensors.device._MOST_SLOTS", most)
    same(load(Latency(stored(safetensors.torch.save(TENSORS)), 0.001), staged), TENSORS)


def test_slots_come_back_after_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.tensors.device._MOST_SLOTS", 2)
    monkeypatch.setattr("hoist.retry._FIRST_WAIT", 0.001)
    monkeypatch.setattr("hoist.read.engine._DAMAGED_TRIES", 30)
    faulty = Faulty(stored(safetensors.torch.save(TENSORS)), fail=0.1, flip=0.2, only=frozenset({"read_into"}))
    same(load(faulty, staged), TENSORS)


def test_an_error_ends_readers_that_wait_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.tensors.device._MOST_SLOTS", 2)
    source = opened(stored(safetensors.torch.save(TENSORS)))
    index = read_index([source.source("f")], source.engine)
    always = Latency(Faulty(source.storage, flip=1.0), 0.05)
    version = opened(source.storage)
    object.__setattr__(version, "storage", always)
    broken = Loader(version.engine, CPU, make=staged)
    bad = type(index.files[0])(version.source("f"), index.files[0].header)
    with pytest.raises(DamagedBlock):
        broken.load(type(index)((bad,)), list(index.by_name))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hoist-read")]


def test_misaligned_data_are_copied_out() -> None:
    values = torch.randn(1500)
    raws = [
        Raw("a", "U8", [3], b"abc"),
        Raw("b", "F32", [1500], values.numpy().tobytes()),
        Raw("c", "I64", [1], bytes(8)),
    ]
    expected = {"a": torch.tensor([97, 98, 99], dtype=torch.uint8), "b": values, "c": torch.zeros(1, dtype=torch.int64)}
    for make in (staged, make_destination):
        same(load(stored(safetensors_bytes(raws)), make), expected)


@pytest.mark.parametrize("make", [staged, make_destination])
def test_checkpoints(make: MakeDestination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoist.tensors.device._MOST_SLOTS", 2)
    base = torch.arange(5000.0)
    value = {"base": base, "part": base[5:99], "turned": base.view(50, 100).t(), "h": torch.ones(3).half(), **TENSORS}
    out = BytesIO()
    torch.save(value, out)
    version = opened(stored(out.getvalue()))
    found = Checkpoint(version.reader("f")).load(Loading(version.engine, CPU, make=make))
    same(found, value)
    assert found["part"].data_ptr() == found["base"].data_ptr() + 20


def test_slots_are_bounded_in_number_and_bytes() -> None:
    for slot, count in ((1 << 10, 16), (64 << 20, 4), (256 << 20, 2)):
        staging = Staging()
        staging.need(slot)
        slots = [staging.take(pinned=False) for _ in range(count)]
        assert {len(made) for made in slots} == {slot}
        waiting = threading.Thread(target=lambda staging=staging: staging.take(pinned=False), daemon=True)
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive(), "more slots than the limit"
        staging.give(slots[0])
        waiting.join(5)
        assert not waiting.is_alive()


def test_files_of_one_load_share_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Staging] = []

    def noted(size: int, device: torch.device, staging: Staging) -> Destination:
        made.append(staging)
        return StagedDestination(size, device, staging)

    storage = memory_storage()
    halves = [dict(list(TENSORS.items())[:6]), dict(list(TENSORS.items())[6:])]
    put_version(storage, {f"f{n}": safetensors.torch.save(half) for n, half in enumerate(halves)}, BLOCK)
    version = opened(storage)
    index = read_index([version.source("f0"), version.source("f1")], version.engine)
    same(Loader(version.engine, CPU, make=noted).load(index, list(index.by_name)), TENSORS)
    assert len(made) == 2 and made[0] is made[1]


def test_what_is_committed_is_in_flat_and_what_is_released_is_not() -> None:
    made = StagedDestination(20, CPU, ten_byte_slots())
    first, second = Request(0, 10, 0, 1, 0), Request(10, 20, 1, 2, 10)
    for request, fill, commit in ((first, b"a", True), (second, b"b", False), (second, b"c", True)):
        view = made.acquire(request)
        view[:] = fill * 10
        made.commit(request, view) if commit else made.release(view)
    made.finish()
    assert bytes(made.flat.numpy()) == b"a" * 10 + b"c" * 10


def test_views_share_memory_where_they_can() -> None:
    flat = torch.arange(32, dtype=torch.uint8)
    assert view_tensor(flat, 8, 8, torch.float32, (2,)).data_ptr() == flat.data_ptr() + 8
    assert view_tensor(flat, 9, 8, torch.float32, (2,)).view(torch.uint8).equal(flat[9:17])
    assert view_tensor(flat, 0, 0, torch.float32, (0, 2)).shape == (0, 2)


def test_memory_that_is_not_there_is_a_typed_error() -> None:
    for make in (HostDestination, lambda size: StagedDestination(size, CPU, ten_byte_slots())):
        with pytest.raises(LocalError, match="no memory for"):
            make(1 << 60)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(tmp_path: Path) -> None:
    big = TENSORS | {"big": torch.frombuffer(bytearray(noise(96 << 20)), dtype=torch.uint8)}
    safetensors.torch.save_file(big, tmp_path / "m.safetensors")
    found = hoist.load_file(tmp_path / "m.safetensors", device="cuda")
    assert all(tensor.is_cuda for tensor in found.values())
    same(found, big)
    torch.save(big, tmp_path / "m.pt")
    same(hoist.load_checkpoint(tmp_path / "m.pt", device=0), big)
    half = hoist.load_file(tmp_path / "m.safetensors", device="cuda:0", dtype="fp32")
    same(half, {n: t.float() if t.is_floating_point() else t for n, t in big.items()})
    faulty = Faulty(stored(safetensors.torch.save(TENSORS)), flip=0.05, only=frozenset({"read_into"}))
    same(load(faulty, make_destination, torch.device("cuda")), TENSORS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", 0, "cuda:1"])
def test_without_a_gpu_it_is_said(tmp_path: Path, device: str | int) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "m.safetensors")
    with pytest.raises(HoistError, match="this torch sees no GPU"):
        hoist.load_file(tmp_path / "m.safetensors", device=device)


def test_the_engines_limit_holds_with_one_thread() -> None:
    storage = stored(safetensors.torch.save(TENSORS))
    version = opened(storage)
    index = read_index([version.source("f")], version.engine)
    same(Loader(Engine(EngineConfig(connections=1)), CPU, make=staged).load(index, list(index.by_name)), TENSORS)
