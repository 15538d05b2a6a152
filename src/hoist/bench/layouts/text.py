"""The text encoders: CLIP-L under transformers' names, OpenCLIP bigG under open_clip's."""

from collections.abc import Iterator

from hoist.bench.layouts.tensor import TensorSpec, linear, narrow, norm, shorten

VOCABULARY = 49408
POSITIONS = 77


def clip_l(prefix: str, scale: float) -> Iterator[TensorSpec]:
    """CLIP ViT-L/14's text model below `prefix` at a scale, with the position ids that its module registers."""
    width, text = narrow(768, scale), f"{prefix}.text_model"
    yield TensorSpec(f"{text}.embeddings.position_ids", (1, POSITIONS))
    yield TensorSpec(f"{text}.embeddings.token_embedding.weight", (shorten(VOCABULARY, scale), width))
    yield TensorSpec(f"{text}.embeddings.position_embedding.weight", (POSITIONS, width))
    for number in range(12):
        layer = f"{text}.encoder.layers.{number}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from linear(f"{layer}.self_attn.{part}", width, width)
        yield from norm(f"{layer}.layer_norm1", width)
        yield from linear(f"{layer}.mlp.fc1", width, 4 * width)
        yield from linear(f"{layer}.mlp.fc2", 4 * width, width)
        yield from norm(f"{layer}.layer_norm2", width)
    yield from norm(f"{text}.final_layer_norm", width)


def clip_g(prefix: str, scale: float) -> Iterator[TensorSpec]:
    """OpenCLIP ViT-bigG/14's text half below `prefix` at a scale, with its projection and logit scale."""
    width = narrow(1280, scale)
    yield TensorSpec(f"{prefix}.positional_embedding", (POSITIONS, width))
    yield TensorSpec(f"{prefix}.text_projection", (width, width))
    yield TensorSpec(f"{prefix}.logit_scale", ())
    for number in range(32):
        layer = f"{prefix}.transformer.resblocks.{number}"
        yield from norm(f"{layer}.ln_1", width)
        # torch's MultiheadAttention keeps q, k and v in one matrix, and names it with an underscore.
        yield TensorSpec(f"{layer}.attn.in_proj_weight", (3 * width, width))
        yield TensorSpec(f"{layer}.attn.in_proj_bias", (3 * width,))
        yield from linear(f"{layer}.attn.out_proj", width, width)
        yield from norm(f"{layer}.ln_2", width)
        yield from linear(f"{layer}.mlp.c_fc", width, 4 * width)
        yield from linear(f"{layer}.mlp.c_proj", 4 * width, width)
    yield TensorSpec(f"{prefix}.token_embedding.weight", (shorten(VOCABULARY, scale), width))
    yield from norm(f"{prefix}.ln_final", width)
