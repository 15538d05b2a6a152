"""The denoising UNet, after ldm's openaimodel.py and sgm's successor of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from hoist.bench.layouts.tensor import TensorSpec, conv, linear, narrow, norm

PREFIX = "model.diffusion_model"
LATENT_CHANNELS = 4
RES_BLOCKS = 2


@dataclass(frozen=True)
class UnetConfig:
    """The settings that decide a UNet's shapes. A depth is a count of transformer blocks; 0 means no attention."""

    model_channels: int
    channel_mult: tuple[int, ...]
    depths: tuple[int, ...]
    middle_depth: int
    context_dim: int
    linear_projection: bool
    vector_channels: int = 0

    @property
    def embed_dim(self) -> int:
        """Width of the time embedding that every residual block takes."""
        return 4 * self.model_channels


def sd15_config(scale: float) -> UnetConfig:
    """Stable Diffusion 1.5's UNet (v1-inference.yaml) at a width scale."""
    return UnetConfig(
        model_channels=narrow(320, scale),
        channel_mult=(1, 2, 4, 4),
        depths=(1, 1, 1, 0),
        middle_depth=1,
        context_dim=narrow(768, scale),
        linear_projection=False,
    )


def sdxl_config(scale: float) -> UnetConfig:
    """SDXL base's UNet (sd_xl_base.yaml) at a width scale."""
    return UnetConfig(
        model_channels=narrow(320, scale),
        channel_mult=(1, 2, 4),
        depths=(0, 2, 10),
        middle_depth=10,
        # Both text encoders' outputs side by side; the pooled one joins six 256-wide size embeddings.
        context_dim=narrow(768, scale) + narrow(1280, scale),
        linear_projection=True,
        vector_channels=narrow(1280, scale) + 6 * narrow(256, scale),
    )


def unet(config: UnetConfig) -> Iterator[TensorSpec]:
    """Every tensor of the UNet, in the order of its state dict."""
    width = config.model_channels
    yield from _embedding(f"{PREFIX}.time_embed", "", width, config.embed_dim)
    if config.vector_channels:
        yield from _embedding(f"{PREFIX}.label_emb", "0.", config.vector_channels, config.embed_dim)
    skips: list[int] = []
    yield from _input_blocks(config, skips)
    yield from _middle_block(config, skips[-1])
    yield from _output_blocks(config, skips)
    yield from norm(f"{PREFIX}.out.0", width)
    yield from conv(f"{PREFIX}.out.2", width, LATENT_CHANNELS, 3)


def _embedding(name: str, infix: str, inputs: int, embed: int) -> Iterator[TensorSpec]:
    yield from linear(f"{name}.{infix}0", inputs, embed)
    yield from linear(f"{name}.{infix}2", embed, embed)


def _input_blocks(config: UnetConfig, skips: list[int]) -> Iterator[TensorSpec]:
    """The descending half; appends the width of each block's output to `skips`."""
    width = config.model_channels
    yield from conv(f"{PREFIX}.input_blocks.0.0", LATENT_CHANNELS, width, 3)
    skips.append(width)
    for level, (mult, depth) in enumerate(zip(config.channel_mult, config.depths, strict=True)):
        for _ in range(RES_BLOCKS):
            block, inputs, width = f"{PREFIX}.input_blocks.{len(skips)}", width, mult * config.model_channels
            yield from _residual(f"{block}.0", inputs, width, config.embed_dim)
            yield from _transformer(f"{block}.1", width, depth, config)
            skips.append(width)
        if level < len(config.channel_mult) - 1:
            yield from conv(f"{PREFIX}.input_blocks.{len(skips)}.0.op", width, width, 3)
            skips.append(width)


def _middle_block(config: UnetConfig, width: int) -> Iterator[TensorSpec]:
    yield from _residual(f"{PREFIX}.middle_block.0", width, width, config.embed_dim)
    yield from _transformer(f"{PREFIX}.middle_block.1", width, config.middle_depth, config)
    yield from _residual(f"{PREFIX}.middle_block.2", width, width, config.embed_dim)


def _output_blocks(config: UnetConfig, skips: list[int]) -> Iterator[TensorSpec]:
    """The ascending half; each block takes one width off the end of `skips`."""
    width, index = skips[-1], 0
    for level in reversed(range(len(config.channel_mult))):
        depth = config.depths[level]
        for place in range(RES_BLOCKS + 1):
            block, inputs = f"{PREFIX}.output_blocks.{index}", width + skips.pop()
            width = config.channel_mult[level] * config.model_channels
            yield from _residual(f"{block}.0", inputs, width, config.embed_dim)
            yield from _transformer(f"{block}.1", width, depth, config)
            if level and place == RES_BLOCKS:
                # The upsampler is the next module in the block, so its number depends on the attention before it.
                yield from conv(f"{block}.{2 if depth else 1}.conv", width, width, 3)
            index += 1


def _residual(name: str, inputs: int, outputs: int, embed: int) -> Iterator[TensorSpec]:
    yield from norm(f"{name}.in_layers.0", inputs)
    yield from conv(f"{name}.in_layers.2", inputs, outputs, 3)
    yield from linear(f"{name}.emb_layers.1", embed, outputs)
    yield from norm(f"{name}.out_layers.0", outputs)
    yield from conv(f"{name}.out_layers.3", outputs, outputs, 3)
    if inputs != outputs:
        yield from conv(f"{name}.skip_connection", inputs, outputs, 1)


def _transformer(name: str, width: int, depth: int, config: UnetConfig) -> Iterator[TensorSpec]:
    if not depth:
        return
    yield from norm(f"{name}.norm", width)
    yield from _projection(f"{name}.proj_in", width, config)
    for number in range(depth):
        yield from _transformer_block(f"{name}.transformer_blocks.{number}", width, config.context_dim)
    yield from _projection(f"{name}.proj_out", width, config)


def _projection(name: str, width: int, config: UnetConfig) -> Iterator[TensorSpec]:
    if config.linear_projection:
        yield from linear(name, width, width)
    else:
        yield from conv(name, width, width, 1)


def _transformer_block(name: str, width: int, context: int) -> Iterator[TensorSpec]:
    yield from _attention(f"{name}.attn1", width, width)
    # GEGLU: the first layer makes the value and its gate, hence twice the usual four.
    yield from linear(f"{name}.ff.net.0.proj", width, 8 * width)
    yield from linear(f"{name}.ff.net.2", 4 * width, width)
    yield from _attention(f"{name}.attn2", width, context)
    for number in (1, 2, 3):
        yield from norm(f"{name}.norm{number}", width)


def _attention(name: str, width: int, context: int) -> Iterator[TensorSpec]:
    yield from linear(f"{name}.to_q", width, width, bias=False)
    yield from linear(f"{name}.to_k", context, width, bias=False)
    yield from linear(f"{name}.to_v", context, width, bias=False)
    yield from linear(f"{name}.to_out.0", width, width)
