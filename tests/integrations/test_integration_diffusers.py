"""diffusers' pipelines around Hoist's tensors: the same pictures as diffusers' own, without a second copy or read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from integration_models import SCALE, Watched, example, open_counted

import hoist
from hoist.bench.fixtures import FIXTURES, build
from hoist.errors import FileNotFound, InvalidFile, UsageError
from hoist.integrations.diffusers import load_pipeline

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

HALF, MIXED, PICKLED, AVERAGED, LARGE = FIXTURES[1], FIXTURES[5], FIXTURES[7], FIXTURES[4], FIXTURES[9]
NORMS = ("norm", "conv_norm_out", "group_norm", "layer_norm")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def half(storage: str) -> str:
    """A checkpoint in half precision, and a tokenizer beside it."""
    return str(example("stable_diffusion/make_models").publish(HALF, storage, SCALE))


@pytest.fixture(scope="module")
def reference(half: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """diffusers' own pipeline of the same checkpoint, in full precision."""
    folder = tmp_path_factory.mktemp("reference")
    hoist.pull(half, folder)
    ours = load_pipeline(half, compute_dtype=None)
    ours.save_config(str(folder))
    for name, part in ours.components.items():
        if hasattr(part, "save_pretrained"):
            (part.save_config if hasattr(part, "save_config") else part.save_pretrained)(str(folder / name))
    ours.text_encoder.config.save_pretrained(str(folder / "text_encoder"))
    return diffusers.StableDiffusionPipeline.from_single_file(
        str(folder / HALF.file_name),
        config=str(folder),
        local_files_only=True,
        torch_dtype=torch.float32,
        safety_checker=None,
    )


def draw(pipeline: Any, prompt: str = "a red fox", seed: int = 1) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    sizes = {"num_inference_steps": 2, "height": 64, "width": 64}
    found = pipeline(prompt, generator=generator, output_type="pt", **sizes).images[0]
    assert isinstance(found, torch.Tensor)
    assert found.shape == (3, 64, 64)
    assert found.isfinite().all()
    return found


def test_the_picture_is_that_of_diffusers_own_pipeline(half: str, reference: Any) -> None:
    ours = load_pipeline(half)
    assert torch.equal(draw(ours), draw(reference))
    # The weights are in half precision still: only the norms were cast.
    for module in (ours.unet, ours.vae, ours.text_encoder):
        assert module.dtype == torch.float32
        kept = {name for name, each in module.named_parameters() if each.dtype == torch.float16}
        cast = {name for name, _ in module.named_parameters()} - kept
        assert len(kept) > len(cast)
        assert all("norm" in name for name in cast)


def test_every_weight_is_that_of_diffusers_own(half: str, reference: Any) -> None:
    ours = load_pipeline(half, compute_dtype=None)
    for name in ("unet", "vae", "text_encoder"):
        expected, found = getattr(reference, name).state_dict(), getattr(ours, name).state_dict()
        assert found.keys() == expected.keys()
        assert all(found[key].dtype == torch.float16 for key in found)
        assert all(torch.equal(found[key].float(), expected[key]) for key in found)


def test_no_second_copy_and_no_second_read(half: str) -> None:
    opened, counted = open_counted(half)
    with opened:
        source = Watched(opened)
        pipeline = load_pipeline(source, compute_dtype=None)
        source.close()
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert source.copies(module) == set()
    weights = opened.entry(HALF.file_name).size
    assert counted.bytes["read_into"] <= weights + sum(
        entry.size for path, entry in opened.files.items() if path.startswith("tokenizer/")
    )


def test_computing_in_another_dtype_copies_norms_only(half: str) -> None:
    with hoist.open(half) as opened:
        source = Watched(opened)
        pipeline = load_pipeline(source)
        draw(pipeline)
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            assert all("norm" in name for name in source.copies(module))


def test_parts_of_several_dtypes(storage: str) -> None:
    location = example("stable_diffusion/make_models").publish(MIXED, storage, SCALE)
    pipeline = load_pipeline(location)
    assert next(pipeline.unet.parameters()).dtype == torch.float32
    assert pipeline.vae.post_quant_conv.weight.dtype == torch.float16
    draw(pipeline)


def test_a_pickled_checkpoint(storage: str) -> None:
    location = example("stable_diffusion/make_models").publish(PICKLED, storage, SCALE)
    with hoist.open(location) as opened:
        source = Watched(opened)
        pipeline = load_pipeline(source)
        assert pipeline.unet.dtype == torch.float32
        assert {name for each in (pipeline.unet, pipeline.vae) for name in source.copies(each)} == set()
        draw(pipeline)


def test_averaged_weights_are_not_fetched(storage: str) -> None:
    location = example("stable_diffusion/make_models").publish(AVERAGED, storage, SCALE)
    averaged = sum(each.nbytes for each in AVERAGED.tensors(SCALE) if each.spec.name.startswith("model_ema"))
    opened, counted = open_counted(location)
    with opened:
        load_pipeline(opened)
        # Blocks have averaged weights in them beside others.
        assert counted.bytes["read_into"] < opened.entry(AVERAGED.file_name).size - 0.5 * averaged


def test_sdxl_splits_its_second_encoders_attention_and_copies_nothing_else(storage: str) -> None:
    location = example("stable_diffusion/make_models").publish(LARGE, storage, SCALE)
    with hoist.open(location) as opened:
        source = Watched(opened)
        pipeline = load_pipeline(source, compute_dtype=None)
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            assert source.copies(module) == set()
        split = source.copies(pipeline.text_encoder_2)
        assert split
        assert all(name == "text_projection.weight" or ".self_attn." in name for name in split)
        assert not any("out_proj" in name for name in split)
        draw(load_pipeline(source))


@pytest.fixture(scope="module")
def folders(half: str, storage: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same model in diffusers' layout, its text encoder in shards."""
    folder = tmp_path_factory.mktemp("folders")
    pipeline = load_pipeline(half, compute_dtype=None)
    pipeline.save_pretrained(str(folder))
    shutil.rmtree(folder / "text_encoder")
    pipeline.text_encoder.save_pretrained(str(folder / "text_encoder"), max_shard_size="50KB")
    hoist.publish(folder, f"{storage}//sd15/folders:v1")
    return f"{storage}//sd15/folders:v1"


def test_diffusers_layout(folders: str, reference: Any) -> None:
    opened, counted = open_counted(folders)
    with opened:
        assert "text_encoder/model.safetensors.index.json" in opened.files
        source = Watched(opened)
        pipeline = load_pipeline(source, compute_dtype=None)
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            assert source.copies(module) == set()
            assert next(module.parameters()).dtype == torch.float16
        source.close()
        assert counted.bytes["read_into"] <= 1.02 * sum(entry.size for entry in opened.files.values())
    assert torch.equal(draw(load_pipeline(folders)), draw(reference))


def test_a_part_of_ones_own(folders: str) -> None:
    scheduler = diffusers.EulerDiscreteScheduler()
    pipeline = load_pipeline(folders, scheduler=scheduler, vae=None, compute_dtype=None)
    assert pipeline.scheduler is scheduler
    assert pipeline.vae is None


def test_a_cast(half: str, reference: Any) -> None:
    pipeline = load_pipeline(half, dtype="float32")
    assert {each.dtype for each in pipeline.unet.parameters()} == {torch.float32}
    assert torch.equal(draw(pipeline), draw(reference))


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
