"""The layouts hold the real checkpoints' names and shapes: their exact parameter counts are the proof."""

import math

import pytest

from hoist.bench.layouts import FAMILIES, Component, Family, components

# The published models' counts: (tensors, parameters). CLIP-L's holds the 77 position ids besides 123,060,480
# parameters in 196 tensors; the averaged weights hold two scalars besides the UNet's.
REAL: dict[Family, dict[Component, tuple[int, int]]] = {
    "sd15": {
        "schedule": (12, 12_000),
        "unet": (686, 859_520_964),
        "vae": (248, 83_653_863),
        "clip_l": (197, 123_060_480 + 77),
        "ema": (688, 859_520_964 + 2),
    },
    "sdxl": {
        "unet": (1680, 2_567_463_684),
        "vae": (248, 83_653_863),
        "clip_l": (197, 123_060_480 + 77),
        "clip_g": (390, 694_659_841),
    },
}

# Where a wrong rule would give another name or shape: halves' ends, module numbers after attention, odd widths.
SPOTS: dict[Family, dict[str, tuple[int, ...]]] = {
    "sd15": {
        "model.diffusion_model.time_embed.0.weight": (1280, 320),
        "model.diffusion_model.input_blocks.3.0.op.weight": (320, 320, 3, 3),
        "model.diffusion_model.input_blocks.4.0.skip_connection.weight": (640, 320, 1, 1),
        "model.diffusion_model.input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
        "model.diffusion_model.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        "model.diffusion_model.output_blocks.5.2.conv.weight": (1280, 1280, 3, 3),
        "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight": (2560, 320),
        "model.diffusion_model.out.2.weight": (4, 320, 3, 3),
        "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight": (256, 128, 1, 1),
        "first_stage_model.encoder.mid.attn_1.proj_out.weight": (512, 512, 1, 1),
        "first_stage_model.decoder.up.3.upsample.conv.weight": (512, 512, 3, 3),
        "first_stage_model.decoder.conv_out.weight": (3, 128, 3, 3),
        "first_stage_model.quant_conv.weight": (8, 8, 1, 1),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": (1, 77),
        "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
        "model_ema.diffusion_modeltime_embed0weight": (1280, 320),
        "model_ema.diffusion_modelinput_blocks30opbias": (320,),
        "model_ema.decay": (),
        "alphas_cumprod": (1000,),
    },
    "sdxl": {
        "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
        "model.diffusion_model.input_blocks.4.1.proj_in.weight": (640, 640),
        "model.diffusion_model.input_blocks.8.1.transformer_blocks.9.attn2.to_v.weight": (1280, 2048),
        "model.diffusion_model.output_blocks.2.2.conv.weight": (1280, 1280, 3, 3),
        "model.diffusion_model.output_blocks.8.0.skip_connection.weight": (320, 640, 1, 1),
        "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": (49408, 768),
        "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight": (3840, 1280),
        "conditioner.embedders.1.model.logit_scale": (),
        "conditioner.embedders.1.model.text_projection": (1280, 1280),
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parameter_counts_are_the_real_ones(family: Family) -> None:
    found = {
        component: (len(specs), sum(spec.count for spec in specs)) for component, specs in components(family).items()
    }
    assert found == REAL[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_known_tensors_have_their_known_shapes(family: Family) -> None:
    shapes = {spec.name: spec.shape for specs in components(family).values() for spec in specs}
    assert {name: shapes.get(name) for name in SPOTS[family]} == SPOTS[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", [0.01, 0.05, 0.3, 1.0])
def test_every_scale_has_the_same_distinct_names(family: Family, scale: float) -> None:
    names = [spec.name for specs in components(family, scale).values() for spec in specs]
    assert len(set(names)) == len(names)
    assert names == [spec.name for specs in components(family).values() for spec in specs]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", [0.1, 0.25, 0.5])
def test_a_component_shrinks_with_about_the_square_of_the_scale(family: Family, scale: float) -> None:
    small = components(family, scale)
    for component, (_, full) in REAL[family].items():
        if component != "schedule":
            ratio = sum(spec.count for spec in small[component]) / full
            assert scale**2 * 0.9 < ratio < scale**2 * 1.6, component


@pytest.mark.parametrize("scale", [0.01, 0.07, 0.33])
def test_widths_stay_multiples_of_eight(scale: float) -> None:
    for spec in components("sdxl", scale)["unet"]:
        inner = spec.name.removeprefix("model.diffusion_model.")
        # Only the latent's four channels, at either end, are not a width.
        fixed = {"input_blocks.0.0.weight": (1,), "out.2.weight": (0,), "out.2.bias": (0,)}.get(inner, ())
        widths = [size for axis, size in enumerate(spec.shape[:2]) if axis not in fixed]
        assert all(width % 8 == 0 for width in widths), spec


@pytest.mark.parametrize("scale", [0.0, -0.5, 1.01, math.nan])
def test_a_scale_outside_its_range_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        components("sd15", scale)
