"""What a handler gets: tensors of safetensors and checkpoints from shared memory, files, and nothing after it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import safetensors.torch
import torch
from function_making import MIB, config_of

import hoist
from hoist.config import Config
from hoist.errors import Cancelled, FileNotFound, InvalidFile, StorageUnavailable, TensorNotFound, UsageError
from hoist.function.model import Model
from hoist.function.opened import OpenModel, open_model
from hoist.function.resident import Residents
from hoist.testing.servers import FaultServer, FolderOrigin

CPU = torch.device("cpu")
Opens = Callable[[str], OpenModel]


def state(seed: int) -> dict[str, torch.Tensor]:
    """A model of a part of its own and one that all have, with odd shapes, and a tensor larger than a block."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.Generator().manual_seed(0)
    return {
        "unet.count": torch.tensor(seed),
        "unet.large": torch.randint(0, 256, (8 * MIB + 4,), dtype=torch.uint8, generator=generator).view(torch.int32),
        "vae.small": torch.randn(3, 7, generator=shared),
        "vae.large": torch.randint(0, 256, (8 * MIB + 4,), dtype=torch.uint8, generator=shared).view(torch.int32),
        "vae.weight": torch.randn(3, 700, generator=shared).half(),
        "vae.empty": torch.empty(0, 4),
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with models `a` and `b` as safetensors, checkpoints, and a mix."""
    root = tmp_path_factory.mktemp("models")
    (root / "models").mkdir()
    for seed, name in enumerate("ab", 1):
        source = root / name
        (source / "text").mkdir(parents=True)
        (source / "config.json").write_text('{"seed": 1}')
        (source / "text" / "vocab.txt").write_text("a b c")
        safetensors.torch.save_file(state(seed), source / "model.safetensors")
        hoist.publish(source, f"{root / 'models'}//safe/{name}:v1")
        (source / "model.safetensors").unlink()
        torch.save({"state_dict": state(seed), "epoch": seed}, source / "model.ckpt")
        hoist.publish(source, f"{root / 'models'}//zip/{name}:v1")
    two = root / "two"
    two.mkdir()
    safetensors.torch.save_file({"x": torch.ones(4)}, two / "one.safetensors")
    safetensors.torch.save_file({"x": torch.ones(4), "y": torch.zeros(4)}, two / "two.safetensors")
    hoist.publish(two, f"{root / 'models'}//safe/two:v1")
    return root


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path)


@pytest.fixture(params=["folder", "bucket", "bucket and host cache"])
def opens(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Iterator[Opens]:
    """Opens a model from a local folder (mapped), a bucket (copied), or a bucket through the host cache (mapped)."""
    made: list[OpenModel] = []
    with FaultServer(FolderOrigin(root)) as server:
        more = {"HOIST_CACHE": str(tmp_path / "blocks")} if "cache" in request.param else {}
        config = config_of(
            tmp_path,
            HOIST_STORAGE_FAR_URL="s3://models",
            HOIST_STORAGE_FAR_ENDPOINT=server.endpoint,
            HOIST_STORAGE_FAR_ANONYMOUS="true",
            **more,
        )
        where = "far" if "bucket" in request.param else str(root / "models")

        def opens(name: str) -> OpenModel:
            made.append(open_model(name, f"{where}//{name}:v1", config=config))
            return made[-1]

        yield opens
        for each in made:
            each.close()


def load(residents: Residents, model: OpenModel, *, to_device: bool = True) -> Any:
    return residents.load(model, to_host=True, to_device=to_device)


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return set(found) == set(wanted) and all(found[name].equal(wanted[name]) for name in wanted)


@pytest.mark.parametrize(("kind", "two_memories"), [("safe", False), ("zip", True)])
def test_tensors_are_right_and_what_two_models_share_is_moved_once(opens: Opens, kind: str, two_memories: bool) -> None:
    residents = Residents(CPU, two_memories=two_memories)
    first, second = opens(f"{kind}/a"), opens(f"{kind}/b")
    load(residents, first)
    assert same(Model(first, residents).tensors(), state(1))
    moved = load(residents, second)
    assert same(Model(second, residents).tensors(), state(2))
    shared = sum(first.units[key] for key in first.units.keys() & second.units.keys())
    # Of a checkpoint, the small tensors lie in one block with the checksum of a large one that is not shared.
    assert shared >= 8 * MIB
    assert moved.host_reused_bytes == shared
    assert moved.fetched_bytes <= 1.05 * (second.size - shared)
    assert residents.sizes()[0] == first.size + second.size - shared
    residents.release("x", host=True)
    residents.release(first.name, host=False).clear()
    residents.release(first.name, host=True).clear()
    assert residents.sizes() == (second.size, second.size)
    assert residents.leaked() == (0, 0)
    assert same(Model(second, residents).tensors(), state(2))
    with pytest.raises(UsageError, match="not in memory any more"):
        Model(first, residents).tensors()


@pytest.mark.parametrize("two_memories", [False, True])
def test_from_host_memory_to_the_device_and_back(opens: Opens, two_memories: bool) -> None:
    residents = Residents(CPU, two_memories=two_memories)
    model = opens("safe/a")
    assert load(residents, model, to_device=False).fetched_bytes >= model.size
    moved = residents.load(model, to_host=False, to_device=True)
    assert (moved.fetched_bytes, moved.host_reused_bytes) == (0, model.size)
    assert moved.device_copied_bytes == (model.size if two_memories else 0)
    assert same(Model(model, residents).tensors(), state(1))
    if two_memories:
        # Only the device has it: a host copy comes from there.
        residents.release(model.name, host=True).clear()
        assert residents.sizes() == (0, model.size)
        back = residents.load(model, to_host=True, to_device=False)
        assert back.fetched_bytes == 0
        residents.release(model.name, host=False).clear()
        residents.load(model, to_host=False, to_device=True)
        assert same(Model(model, residents).tensors(), state(1))


def test_a_checkpoint_is_given_whole_too(opens: Opens) -> None:
    residents, model = Residents(CPU), opens("zip/a")
    load(residents, model)
    found = Model(model, residents).load_checkpoint()
    assert found["epoch"] == 1
    assert same(found["state_dict"], state(1))


def test_a_stopped_load_leaves_nothing(opens: Opens) -> None:
    residents, stop = Residents(CPU), Event()
    stop.set()
    model = opens("safe/a")
    with pytest.raises(Cancelled):
        residents.load(model, to_host=True, to_device=True, stop=stop)
    assert residents.sizes() == (0, 0)
    assert residents.leaked() == (0, 0)


def test_a_load_that_fails_leaves_what_was_there(root: Path, tmp_path: Path) -> None:
    with FaultServer(FolderOrigin(root)) as server:
        config = config_of(
            tmp_path,
            HOIST_STORAGE_FAR_URL="s3://models",
            HOIST_STORAGE_FAR_ENDPOINT=server.endpoint,
            HOIST_STORAGE_FAR_ANONYMOUS="true",
            HOIST_RETRY_SECONDS="1",
        )
        residents = Residents(CPU, two_memories=True)
        first, second = (open_model(name, f"far//{name}:v1", config=config) for name in ("safe/a", "safe/b"))
        load(residents, first)
        before = residents.sizes()
        with server.down(), pytest.raises(StorageUnavailable):
            load(residents, second)
        assert residents.sizes() == before
        assert same(Model(first, residents).tensors(), state(1))
        load(residents, second)
        assert same(Model(second, residents).tensors(), state(2))
        first.close()
        second.close()


def test_tensors_by_file_and_prefix(root: Path, config: Config) -> None:
    residents = Residents(CPU)
    model = open_model("m", f"{root / 'models'}//safe/a:v1", config=config)
    load(residents, model)
    found = Model(model, residents)
    assert set(found.tensors(prefix="vae.")) == {"vae.small", "vae.large", "vae.weight", "vae.empty"}
    assert set(found.tensors("model.safetensors", prefix="unet.l")) == {"unet.large"}
    with pytest.raises(TensorNotFound, match="starts with 'decoder'"):
        found.tensors(prefix="decoder")
    with pytest.raises(FileNotFound, match=r"no file 'modl\.safetensors'; it has model\.safetensors"):
        found.tensors("modl.safetensors")
    with pytest.raises(UsageError, match=r"config\.json .* is not in memory, model\.safetensors is"):
        found.tensors("config.json")
    with pytest.raises(UsageError, match="does not hold one checkpoint"):
        found.load_checkpoint()
    model.close()


def test_two_files_with_one_name_are_loaded_apart(root: Path, config: Config) -> None:
    residents = Residents(CPU)
    model = open_model("m", f"{root / 'models'}//safe/two:v1", config=config)
    load(residents, model)
    found = Model(model, residents)
    with pytest.raises(InvalidFile, match=r"'x' in two\.safetensors and in another file"):
        found.tensors()
    assert set(found.tensors("two.safetensors")) == {"x", "y"}
    model.close()


def test_its_files_and_a_folder_of_them(root: Path, config: Config) -> None:
    model = open_model("anything", f"{root / 'models'}//safe/a:v1", config=config)
    found = Model(model, Residents(CPU))
    assert (found.name, found.reference, found.device) == ("anything", "safe/a:v1", "cpu")
    assert found.location == f"{root / 'models'}//safe/a:v1"
    assert found.version_digest.startswith("sha256:")
    assert found.weight_files == ("model.safetensors",)
    assert set(found.files) == {"model.safetensors", "config.json", "text/vocab.txt"}
    assert len(found.sha256("config.json")) == 64
    assert found.read("config.json") == b'{"seed": 1}'
    with found.open("text/vocab.txt") as file:
        assert file.read() == b"a b c"
    all_small, only_text = found.folder(), found.folder("text/*")
    assert sorted(str(p.relative_to(all_small)) for p in all_small.rglob("*.*")) == ["config.json", "text/vocab.txt"]
    assert [str(p.relative_to(only_text)) for p in only_text.rglob("*.*")] == ["text/vocab.txt"]
    with pytest.raises(FileNotFound, match=r"no file that matches \*\.bin"):
        found.folder("*.bin")
    found.close()
    assert not all_small.exists()
    assert not only_text.exists()
    with pytest.raises(UsageError, match="was unloaded"):
        found.folder()
    model.close()
