"""Programs that know nothing of Hoist load through a mount, before and after the file is wholly in the cache."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mount_fixtures import bucket_with
from mounting import ROOT, Mount

from hoist.bench.fixtures import FIXTURES, build
from hoist.testing.servers import RcloneServer

pytest_plugins = ("mount_fixtures",)
torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


@dataclass(frozen=True)
class Loaded:
    """A mounted model, and the tensors that it has."""

    mount: Mount
    folder: Path
    tensors: dict[str, object]


@pytest.fixture(scope="module")
def loaded(fuse: None, rclone_server: RcloneServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    made = tmp_path_factory.mktemp("made")
    torch.manual_seed(1)
    tensors = {f"layer{n}.weight": torch.randn(256, 1024 + n) for n in range(20)}
    safetensors_torch.save_file(tensors, made / "model.safetensors")
    torch.save(tensors, made / "model.ckpt")
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    env = bucket_with(rclone_server, files, tmp_path_factory.mktemp("source"))
    with Mount(tmp_path_factory.mktemp("home"), ("far",), ("--metrics", "0"), env) as mount:
        yield Loaded(mount, mount.point / "m/one/stable", tensors)


def _same(found: dict[str, object], right: dict[str, object]) -> bool:
    return found.keys() == right.keys() and all(torch.equal(found[name], right[name]) for name in right)


@pytest.mark.parametrize("turn", ["first", "second"])
def test_safetensors(loaded: Loaded, turn: str) -> None:
    path = loaded.folder / "model.safetensors"
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_tensor("layer7.weight"), loaded.tensors["layer7.weight"])
        assert torch.equal(file.get_slice("layer9.weight")[5:7], loaded.tensors["layer9.weight"][5:7])  # type: ignore[index]
    assert _same(safetensors_torch.load_file(path), loaded.tensors)


@pytest.mark.parametrize("turn", ["first", "second"])
@pytest.mark.parametrize("mapped", [True, False])
def test_torch(loaded: Loaded, turn: str, mapped: bool) -> None:
    found = torch.load(loaded.folder / "model.ckpt", weights_only=True, mmap=mapped)
    assert _same(found, loaded.tensors)


def test_gguf_by_mmap(fuse: None, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    import numpy

    from makers import directory_storage, publish

    source = tmp_path / "source"
    source.mkdir()
    writer = gguf.GGUFWriter(source / "model.gguf", "llama")
    weights = numpy.arange(64 * 1024, dtype=numpy.float32).reshape(64, 1024)
    writer.add_tensor("blk.0.attn_q.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    publish(source, directory_storage(tmp_path / "store"), "m/one:v1")
    with Mount(tmp_path, (str(tmp_path / "store"),)) as mount:
        (tensor,) = gguf.GGUFReader(mount.point / "m/one/v1/model.gguf").tensors
        assert (tensor.data == weights).all()
        del tensor


def test_diffusers_from_pretrained(fuse: None, rclone_server: RcloneServer, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    sizes = {"sample_size": 8, "block_out_channels": (32, 32), "layers_per_block": 1}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "norm_num_groups": 8}
    model = diffusers.UNet2DModel(**sizes, **blocks)
    diffusers.DDPMPipeline(model, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "made")
    made = {
        str(p.relative_to(tmp_path / "made")): p.read_bytes() for p in (tmp_path / "made").rglob("*") if p.is_file()
    }
    with Mount(tmp_path, ("far",), (), bucket_with(rclone_server, made, tmp_path / "source")) as mount:
        pipeline = diffusers.DDPMPipeline.from_pretrained(mount.point / "m/one/stable", local_files_only=True)
        assert _same(dict(pipeline.unet.state_dict()), dict(model.state_dict()))


def test_diffusers_from_single_file(fuse: None, rclone_server: RcloneServer, tmp_path: Path) -> None:
    """The autoencoder of a checkpoint in Stable Diffusion's original layout, narrower."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    made = build(next(fixture for fixture in FIXTURES if fixture.model == "sd15/anything-v5.0"), tmp_path, scale=0.1)
    weights = safetensors_torch.load_file(made)
    first = weights["first_stage_model.encoder.conv_in.weight"]
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    widths = {"block_out_channels": tuple(len(first) * n for n in (1, 2, 4, 4)), "norm_num_groups": 8}
    diffusers.AutoencoderKL(**kinds, **widths, layers_per_block=2, latent_channels=4).save_config(tmp_path / "config")
    stored = bucket_with(rclone_server, {"model.safetensors": made.read_bytes()}, tmp_path / "source")
    with Mount(tmp_path, ("far",), (), stored) as mount:
        found = diffusers.AutoencoderKL.from_single_file(
            str(mount.point / "m/one/stable/model.safetensors"),
            config=str(tmp_path / "config"),
            local_files_only=True,
            torch_dtype=first.dtype,
        )
        assert found.state_dict()["encoder.conv_in.weight"].equal(first)


def test_a_whole_file_is_read_by_the_kernel_alone(loaded: Loaded) -> None:
    if not ROOT:
        pytest.skip("only root may let the kernel read a file by itself")
    path = loaded.folder / "model.safetensors"
    data = path.read_bytes()
    time.sleep(0.2)
    before = loaded.mount.metrics()
    if "passthrough" in loaded.mount.log or not before["passthrough_opens_total"]:
        assert path.read_bytes() == data
        before = loaded.mount.metrics()
        if not before["passthrough_opens_total"]:
            pytest.skip("this kernel, or the file system of the cache, has no passthrough")
    copied = subprocess.run(["cat", str(path)], capture_output=True, check=True).stdout
    after = loaded.mount.metrics()
    assert copied == data
    assert after["read_bytes_total"] == before["read_bytes_total"]
    assert after["storage_bytes_total"] == before["storage_bytes_total"]


def test_a_file_that_becomes_whole_while_it_is_open(loaded: Loaded) -> None:
    """Whoever has it open goes on; the next one may get another node, of the same number."""
    path = loaded.folder / "model.ckpt"
    with path.open("rb", buffering=0) as early:
        first = early.read(100)
        data = path.read_bytes()
        number = path.stat().st_ino
        time.sleep(0.2)
        with path.open("rb") as late:
            assert late.read() == data
        early.seek(0)
        assert early.read(100) == first == data[:100]
        assert early.read() == data[100:]
        assert path.stat().st_ino == number
