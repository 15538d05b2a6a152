"""The image autoencoder, the same in Stable Diffusion 1.5 and SDXL (ldm's AutoencoderKL)."""

from collections.abc import Iterator

from hoist.bench.layouts.tensor import TensorSpec, conv, narrow, norm

PREFIX = "first_stage_model"
CHANNEL_MULT = (1, 2, 4, 4)
RES_BLOCKS = 2
LATENT_CHANNELS = 4
IMAGE_CHANNELS = 3


def vae(scale: float) -> Iterator[TensorSpec]:
    """Every tensor of the autoencoder at a width scale; the image and latent channels stay."""
    base = narrow(128, scale)
    yield from _encoder(f"{PREFIX}.encoder", base)
    yield from _decoder(f"{PREFIX}.decoder", base)
    # The encoder gives a mean and a log variance, so twice the latent channels.
    yield from conv(f"{PREFIX}.quant_conv", 2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1)
    yield from conv(f"{PREFIX}.post_quant_conv", LATENT_CHANNELS, LATENT_CHANNELS, 1)


def _encoder(name: str, base: int) -> Iterator[TensorSpec]:
    width = base
    yield from conv(f"{name}.conv_in", IMAGE_CHANNELS, width, 3)
    for level, mult in enumerate(CHANNEL_MULT):
        for number in range(RES_BLOCKS):
            inputs, width = width, mult * base
            yield from _residual(f"{name}.down.{level}.block.{number}", inputs, width)
        if level < len(CHANNEL_MULT) - 1:
            yield from conv(f"{name}.down.{level}.downsample.conv", width, width, 3)
    yield from _middle(f"{name}.mid", width)
    yield from norm(f"{name}.norm_out", width)
    yield from conv(f"{name}.conv_out", width, 2 * LATENT_CHANNELS, 3)


def _decoder(name: str, base: int) -> Iterator[TensorSpec]:
    width = CHANNEL_MULT[-1] * base
    yield from conv(f"{name}.conv_in", LATENT_CHANNELS, width, 3)
    yield from _middle(f"{name}.mid", width)
    for level in reversed(range(len(CHANNEL_MULT))):
        for number in range(RES_BLOCKS + 1):
            inputs, width = width, CHANNEL_MULT[level] * base
            yield from _residual(f"{name}.up.{level}.block.{number}", inputs, width)
        if level:
            yield from conv(f"{name}.up.{level}.upsample.conv", width, width, 3)
    yield from norm(f"{name}.norm_out", width)
    yield from conv(f"{name}.conv_out", width, IMAGE_CHANNELS, 3)


def _middle(name: str, width: int) -> Iterator[TensorSpec]:
    yield from _residual(f"{name}.block_1", width, width)
    yield from norm(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from conv(f"{name}.attn_1.{part}", width, width, 1)
    yield from _residual(f"{name}.block_2", width, width)


def _residual(name: str, inputs: int, outputs: int) -> Iterator[TensorSpec]:
    yield from norm(f"{name}.norm1", inputs)
    yield from conv(f"{name}.conv1", inputs, outputs, 3)
    yield from norm(f"{name}.norm2", outputs)
    yield from conv(f"{name}.conv2", outputs, outputs, 3)
    if inputs != outputs:
        yield from conv(f"{name}.nin_shortcut", inputs, outputs, 1)
