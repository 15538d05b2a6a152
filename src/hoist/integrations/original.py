"""The configurations of an original-layout Stable Diffusion checkpoint, read off the shapes of its tensors.

Pure. A width that no released model has still gives a configuration that its weights fit, so that small models work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hoist.errors import InvalidFile

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]
Family = Literal["sd1", "sdxl"]

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP: dict[Family, str] = {"sd1": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
OPEN_CLIP = "conditioner.embedders.1.model."
AVERAGED = "model_ema."
"""How the names of averaged weights begin; inference wants the others."""

# Released models have heads of 64 and normalise by 32 groups.
_HEAD, _GROUPS, _NARROW_HEADS = 64, 32, 8
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
_SCHEDULER: dict[Family, Config] = {
    "sd1": {**_BETAS, "steps_offset": 1, "set_alpha_to_one": False, "skip_prk_steps": True},
    "sdxl": {**_BETAS, "steps_offset": 1, "timestep_spacing": "leading"},
}


@dataclass(frozen=True)
class Original:
    """What a checkpoint is, and the configuration of each of its parts by diffusers' name of the part."""

    family: Family
    unet: Config
    vae: Config
    text_encoder: Config
    text_encoder_2: Config | None
    scheduler: Config


def read_original(shapes: Shapes) -> Original:
    """The configurations that a checkpoint's tensors ask for. Raises InvalidFile if it is of no family known here."""
    family: Family = "sdxl" if f"{OPEN_CLIP}token_embedding.weight" in shapes else "sd1"
    for needed in (f"{UNET}input_blocks.0.0.weight", f"{VAE}decoder.conv_in.weight", f"{CLIP[family]}{_TOKENS}"):
        if needed not in shapes:
            raise InvalidFile(
                f"this is no whole Stable Diffusion 1 or XL checkpoint in the original layout: it has no {needed!r}; "
                "publish other models in diffusers' layout (model_index.json, and a folder for each part)"
            )
    second = _open_clip(shapes) if family == "sdxl" else None
    return Original(
        family,
        _unet(shapes, second),
        _vae(shapes, family),
        _clip(shapes, CLIP[family]),
        second,
        _SCHEDULER[family],
    )


_TOKENS = "text_model.embeddings.token_embedding.weight"


def _unet(shapes: Shapes, second: Config | None) -> Config:
    blocks = f"{UNET}input_blocks"
    width, channels = shapes[f"{blocks}.0.0.weight"][:2]
    widths, depths, layers, number = [width], [0], 0, 1
    while f"{blocks}.{number}.0.op.weight" in shapes or f"{blocks}.{number}.0.out_layers.3.weight" in shapes:
        if f"{blocks}.{number}.0.op.weight" in shapes:
            widths.append(0)
            depths.append(0)
        else:
            layers += len(widths) == 1
            widths[-1] = shapes[f"{blocks}.{number}.0.out_layers.3.weight"][0]
            depths[-1] = _count(shapes, f"{blocks}.{number}.1.transformer_blocks.", ".norm1.weight")
        number += 1
    attention = next(name for name in shapes if name.startswith(blocks) and name.endswith("attn2.to_k.weight"))
    projection = shapes[attention.rpartition(".transformer_blocks.")[0] + ".proj_in.weight"]
    config: Config = {
        "sample_size": 64 if second is None else 128,
        "in_channels": channels,
        "out_channels": shapes[f"{UNET}out.2.weight"][0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "cross_attention_dim": shapes[attention][1],
        # diffusers calls the number of heads so.
        "attention_head_dim": _NARROW_HEADS if second is None else [_heads(width) for width in widths],
        "use_linear_projection": len(projection) == 2,
        "norm_num_groups": math.gcd(_GROUPS, width),
    }
    if second is not None:
        added = shapes[f"{UNET}label_emb.0.0.weight"][1]
        # The second encoder's pooled output, and six embedded sizes.
        sizes = (added - second["projection_dim"]) // 6
        config |= {"addition_embed_type": "text_time", "addition_time_embed_dim": sizes}
        config |= {"projection_class_embeddings_input_dim": added}
    return config


def _vae(shapes: Shapes, family: Family) -> Config:
    down, levels = f"{VAE}encoder.down", 0
    while f"{down}.{levels}.block.0.conv1.weight" in shapes:
        levels += 1
    widths = [shapes[f"{down}.{level}.block.0.conv1.weight"][0] for level in range(levels)]
    return {
        "sample_size": 512 if family == "sd1" else 1024,
        "in_channels": shapes[f"{VAE}encoder.conv_in.weight"][1],
        "out_channels": shapes[f"{VAE}decoder.conv_out.weight"][0],
        "latent_channels": shapes[f"{VAE}decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, f"{down}.0.block.", ".conv1.weight"),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": math.gcd(_GROUPS, widths[0]),
        "scaling_factor": 0.18215 if family == "sd1" else 0.13025,
    }


def _clip(shapes: Shapes, prefix: str) -> Config:
    layers = f"{prefix}text_model.encoder.layers."
    return _text(
        shapes[f"{prefix}{_TOKENS}"],
        shapes[f"{prefix}text_model.embeddings.position_embedding.weight"][0],
        shapes[f"{layers}0.mlp.fc1.weight"][0],
        _count(shapes, layers, ".mlp.fc1.weight"),
        "quick_gelu",
    )


def _open_clip(shapes: Shapes) -> Config:
    layers = f"{OPEN_CLIP}transformer.resblocks."
    config = _text(
        shapes[f"{OPEN_CLIP}token_embedding.weight"],
        shapes[f"{OPEN_CLIP}positional_embedding"][0],
        shapes[f"{layers}0.mlp.c_fc.weight"][0],
        _count(shapes, layers, ".mlp.c_fc.weight"),
        "gelu",
    )
    return config | {"projection_dim": shapes[f"{OPEN_CLIP}text_projection"][1]}


def _text(tokens: tuple[int, ...], positions: int, inner: int, layers: int, activation: str) -> Config:
    vocabulary, width = tokens
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "projection_dim": width,
        "num_hidden_layers": layers,
        "num_attention_heads": _heads(width),
        "max_position_embeddings": positions,
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
        # As the released models say it: the end of a prompt is its highest token.
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }


def _heads(width: int) -> int:
    return width // _HEAD if width % _HEAD == 0 else _NARROW_HEADS


def _count(shapes: Shapes, before: str, after: str) -> int:
    number = 0
    while f"{before}{number}{after}" in shapes:
        number += 1
    return number
