"""diffusers' pipelines around Hoist's tensors: the same pictures as diffusers' own, without a second copy or read."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from integration_models import SCALE, Watched, example, open_counted

import hoist
from hoist.bench.fixtures import FIXTURES, build
from hoist.errors import FileNotFound, InvalidFile, UsageError
from hoist.integrations.diffusers import load_pipeline
from hoist.storage.wrap import Counting
from makers import files_below, memory_storage, opened, put_version

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

HALF, MIXED, PICKLED, AVERAGED, LARGE = FIXTURES[1], FIXTURES[5], FIXTURES[7], FIXTURES[4], FIXTURES[9]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be asked of any hub."""

    def refuse(self: socket.socket, address: object) -> None:
        pytest.fail(f"something connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as narrow as these are a hundred times slower where several threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def half(storage: str) -> str:
    """A checkpoint in half precision, and a tokenizer beside it."""
    return str(example("stable_diffusion/make_models").publish(HALF, storage, SCALE))


@dataclass(frozen=True)
class Ours:
    """A pipeline that computes as its weights are, and what it cost."""

    pipeline: Any
    copies: set[str]
    read_bytes: int
    size: int

    @property
    def modules(self) -> tuple[Any, ...]:
        return self.pipeline.unet, self.pipeline.vae, self.pipeline.text_encoder


@pytest.fixture(scope="module")
def ours(half: str) -> Ours:
    version, counted = open_counted(half)
    with version, Watched(version) as source:
        pipeline = load_pipeline(source, compute_dtype=None)
        modules = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
        copies = {name for module in modules for name in source.copies(module)}
        return Ours(pipeline, copies, counted.bytes["read_into"], sum(each.size for each in version.files.values()))


@pytest.fixture(scope="module")
def reference(half: str, ours: Ours, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """diffusers' own pipeline of the same checkpoint, in full precision."""
    folder = tmp_path_factory.mktemp("reference")
    hoist.pull(half, folder)
    ours.pipeline.save_config(str(folder))
    for name in ("unet", "vae"):
        ours.pipeline.components[name].save_config(str(folder / name))
    ours.pipeline.scheduler.save_pretrained(str(folder / "scheduler"))
    ours.pipeline.text_encoder.config.save_pretrained(str(folder / "text_encoder"))
    return diffusers.StableDiffusionPipeline.from_single_file(
        str(folder / HALF.file_name),
        config=str(folder),
        local_files_only=True,
        torch_dtype=torch.float32,
        safety_checker=None,
    )


@pytest.fixture(scope="module")
def expected(reference: Any) -> torch.Tensor:
    """The picture that diffusers' own pipeline draws."""
    return draw(reference)


def draw(pipeline: Any, prompt: str = "a red fox", seed: int = 1) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    sizes = {"num_inference_steps": 2, "height": 64, "width": 64}
    found = pipeline(prompt, generator=generator, output_type="pt", **sizes).images[0]
    assert isinstance(found, torch.Tensor)
    assert found.shape == (3, 64, 64)
    assert found.isfinite().all()
    return found


def test_the_picture_is_that_of_diffusers_own_pipeline(half: str, expected: torch.Tensor) -> None:
    with hoist.open(half) as version, Watched(version) as source:
        pipeline = load_pipeline(source)
        found = draw(pipeline)
        assert torch.equal(found, expected)
        assert found.std() > 0.02  # there is something to see
        assert not torch.equal(draw(pipeline, "a grey wolf", seed=2), found)
        # After that the weights are Hoist's still, in half precision: only norms were cast.
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            assert module.dtype == torch.float32
            cast = {name for name, each in module.named_parameters() if each.dtype != torch.float16}
            assert 0 < len(cast) < len(list(module.parameters())) / 2
            assert all("norm" in name for name in cast)
            assert source.copies(module) <= cast


def test_every_weight_is_that_of_diffusers_own(ours: Ours, reference: Any) -> None:
    for name in ("unet", "vae", "text_encoder"):
        theirs, found = getattr(reference, name).state_dict(), getattr(ours.pipeline, name).state_dict()
        assert found.keys() == theirs.keys()
        assert all(found[key].dtype == torch.float16 for key in found)
        assert all(torch.equal(found[key].float(), theirs[key]) for key in found)


def test_no_second_copy_and_no_second_read(ours: Ours) -> None:
    assert ours.copies == set()
    assert ours.read_bytes <= ours.size
    assert not any(each.requires_grad for module in ours.modules for each in module.parameters())
    assert not any(module.training for module in ours.modules)


def test_parts_of_several_dtypes(storage: str) -> None:
    location = example("stable_diffusion/make_models").publish(MIXED, storage, SCALE)
    pipeline = load_pipeline(location, compute_dtype="bfloat16")
    assert pipeline.unet.conv_in.weight.dtype == torch.float32
    assert pipeline.vae.post_quant_conv.weight.dtype == torch.float16
    assert draw(pipeline).dtype == torch.bfloat16


def test_a_pickled_checkpoint(storage: str) -> None:
    location = example("stable_diffusion/make_models").publish(PICKLED, storage, SCALE)
    with hoist.open(location) as version, Watched(version) as source:
        pipeline = load_pipeline(source)
        assert pipeline.unet.dtype == torch.float32
        assert {name for each in (pipeline.unet, pipeline.vae) for name in source.copies(each)} == set()
        draw(pipeline)


def test_averaged_weights_are_not_fetched(half: str, tmp_path: Path) -> None:
    hoist.pull(half, tmp_path, include=["tokenizer/*"])
    files = files_below(tmp_path) | {"one.safetensors": build(AVERAGED, tmp_path, scale=SCALE).read_bytes()}
    averaged = sum(each.nbytes for each in AVERAGED.tensors(SCALE) if each.spec.name.startswith("model_ema"))
    storage = memory_storage()
    put_version(storage, files, 64 << 10)
    counted = Counting(storage)
    with opened(counted) as version:
        load_pipeline(version)
    assert counted.bytes["read_into"] < sum(map(len, files.values())) - 0.9 * averaged


def test_sdxl_splits_its_second_encoders_attention_and_copies_nothing_else(storage: str) -> None:
    location = example("stable_diffusion/make_models").publish(LARGE, storage, SCALE)
    with hoist.open(location) as version, Watched(version) as source:
        pipeline = load_pipeline(source)
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            assert all("norm" in name for name in source.copies(module))
        split = {name for name in source.copies(pipeline.text_encoder_2) if "norm" not in name}
        assert split
        assert all(name == "text_projection.weight" or ".self_attn." in name for name in split)
        assert not any("out_proj" in name for name in split)
        assert draw(pipeline).std() > 0.02


@pytest.fixture(scope="module")
def folders(ours: Ours, storage: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same model in diffusers' layout, its text encoder in shards."""
    folder = tmp_path_factory.mktemp("folders")
    ours.pipeline.save_pretrained(str(folder))
    shutil.rmtree(folder / "text_encoder")
    ours.pipeline.text_encoder.save_pretrained(str(folder / "text_encoder"), max_shard_size="50KB")
    hoist.publish(folder, f"{storage}//sd15/folders:v1")
    return f"{storage}//sd15/folders:v1"


def test_diffusers_layout(folders: str, expected: torch.Tensor) -> None:
    version, counted = open_counted(folders)
    with version, Watched(version) as source:
        assert "text_encoder/model.safetensors.index.json" in version.files
        scheduler = diffusers.PNDMScheduler(beta_schedule="linear")
        pipeline = load_pipeline(source, compute_dtype=None, scheduler=scheduler)
        assert pipeline.scheduler is scheduler  # a part of one's own
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            assert source.copies(module) == set()
            assert next(module.parameters()).dtype == torch.float16
        assert counted.bytes["read_into"] <= 1.02 * sum(entry.size for entry in version.files.values())
    # Cast on the way, so that it computes in full precision too.
    assert torch.equal(draw(load_pipeline(folders, dtype="float32")), expected)


def test_a_checkpoint_alone_takes_its_tokenizer_from_elsewhere(half: str, storage: str, tmp_path: Path) -> None:
    hoist.publish(build(HALF, tmp_path / "alone", scale=SCALE), f"{storage}//sd15/alone:v1")
    with pytest.raises(UsageError, match="no tokenizer: publish tokenizer/ beside it"):
        load_pipeline(f"{storage}//sd15/alone:v1")
    hoist.pull(half, tmp_path / "pulled", include=["tokenizer/*"])
    scheduler = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}
    (tmp_path / "pulled/scheduler").mkdir()
    (tmp_path / "pulled/scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    pipeline = load_pipeline(f"{storage}//sd15/alone:v1", config=tmp_path / "pulled")
    assert isinstance(pipeline.scheduler, diffusers.DDIMScheduler)
    other = load_pipeline(f"{storage}//sd15/alone:v1", config=half)
    assert isinstance(other.scheduler, diffusers.PNDMScheduler)
    assert other.tokenizer("a").input_ids == pipeline.tokenizer("a").input_ids
    with pytest.raises(FileNotFound, match="there is no folder"):
        load_pipeline(f"{storage}//sd15/alone:v1", config=tmp_path / "nowhere")


def test_weights_that_are_missing(storage: str, half: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    hoist.pull(half, tmp_path)
    tensors = load_file(tmp_path / HALF.file_name)
    del tensors["model.diffusion_model.input_blocks.1.0.in_layers.2.weight"]
    save_file(tensors, tmp_path / HALF.file_name)
    hoist.publish(tmp_path, f"{storage}//sd15/torn:v1")
    with pytest.raises(InvalidFile, match=r"UNet2DConditionModel lack 'down_blocks.0.resnets.0.conv1.weight'"):
        load_pipeline(f"{storage}//sd15/torn:v1")


def test_what_is_no_checkpoint(storage: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, tmp_path / "a.safetensors")
    hoist.publish(tmp_path, f"{storage}//m/other:v1")
    with pytest.raises(InvalidFile, match="no whole Stable Diffusion 1 or XL checkpoint"):
        load_pipeline(f"{storage}//m/other:v1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(half: str) -> None:
    with hoist.open(half) as version, Watched(version, "cuda:0") as source:
        pipeline = load_pipeline(source)
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            assert source.copies(module) == set()
            assert all(each.is_cuda for each in (*module.parameters(), *module.buffers()))
            assert module.dtype == torch.float16
        assert draw(pipeline).is_cuda
