"""What is read off a checkpoint's shapes is what the released models' configurations say."""

from __future__ import annotations

import pytest

from hoist.bench.layouts import components
from hoist.errors import InvalidFile
from hoist.integrations.original import Shapes, read_original


def shapes(family: str, scale: float = 1.0) -> Shapes:
    assert family in ("sd15", "sdxl")
    return {spec.name: spec.shape for specs in components(family, scale).values() for spec in specs}  # type: ignore[arg-type]


def test_stable_diffusion_1_5() -> None:
    found = read_original(shapes("sd15"))
    assert found.family == "sd1"
    assert found.unet == {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        "transformer_layers_per_block": [1, 1, 1, 1],
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "use_linear_projection": False,
        "norm_num_groups": 32,
    }
    assert found.vae["block_out_channels"] == [128, 256, 512, 512]
    assert (found.vae["latent_channels"], found.vae["layers_per_block"], found.vae["norm_num_groups"]) == (4, 2, 32)
    text = {"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    assert text.items() <= found.text_encoder.items()
    assert (found.text_encoder["num_attention_heads"], found.text_encoder["hidden_act"]) == (12, "quick_gelu")


def test_stable_diffusion_xl() -> None:
    found = read_original(shapes("sdxl"))
    assert found.family == "sdxl"
    unet = {
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "use_linear_projection": True,
        "sample_size": 128,
    }
    assert unet.items() <= found.unet.items()
    assert found.vae["scaling_factor"] == 0.13025
    second = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "projection_dim": 1280}
    assert found.text_encoder_2 is not None
    assert second.items() <= found.text_encoder_2.items()
    assert (found.text_encoder_2["num_attention_heads"], found.text_encoder_2["hidden_act"]) == (20, "gelu")


@pytest.mark.parametrize("scale", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_every_width_divides_by_its_groups_and_heads(family: str, scale: float) -> None:
    found = read_original(shapes(family, scale))
    for config in (found.unet, found.vae):
        assert all(width % config["norm_num_groups"] == 0 for width in config["block_out_channels"])
    for text in filter(None, (found.text_encoder, found.text_encoder_2)):
        assert text["hidden_size"] % text["num_attention_heads"] == 0


def test_an_inpainting_model_has_more_channels_in() -> None:
    given = dict(shapes("sd15"))
    given["model.diffusion_model.input_blocks.0.0.weight"] = (320, 9, 3, 3)
    assert read_original(given).unet["in_channels"] == 9


@pytest.mark.parametrize("part", ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."])
def test_a_part_of_a_checkpoint_is_refused(part: str) -> None:
    given = {name: shape for name, shape in shapes("sd15", 0.05).items() if not name.startswith(part)}
    with pytest.raises(InvalidFile, match=f"it has no '{part}"):
        read_original(given)
