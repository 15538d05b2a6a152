"""A whole checkpoint by component: what each family's file can hold, and under which names."""

from collections.abc import Iterable, Iterator
from typing import Literal

from hoist.bench.layouts.tensor import TensorSpec, check_scale
from hoist.bench.layouts.text import clip_g, clip_l
from hoist.bench.layouts.unet import sd15_config, sdxl_config, unet
from hoist.bench.layouts.vae import vae

Family = Literal["sd15", "sdxl"]
Component = Literal["schedule", "unet", "vae", "clip_l", "clip_g", "ema"]

FAMILIES: tuple[Family, ...] = ("sd15", "sdxl")

TIMESTEPS = 1000
SCHEDULE_NAMES = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)


def components(family: Family, scale: float = 1.0) -> dict[Component, tuple[TensorSpec, ...]]:
    """Every component that a family's original checkpoints may hold, with its tensors in state-dict order.

    `scale`, above 0 and at most 1, shrinks the widths and the vocabulary, so a component's bytes shrink with about
    its square; the 1000-step schedules, the latent channels and the 77 positions stay. Widths are multiples of 8,
    so small scales are coarse: 0.05 gives the VAE 8 channels of 128. Raises ValueError for another scale.
    """
    check_scale(scale)
    if family == "sdxl":
        # sgm keeps neither the schedules nor the averaged weights in the released file.
        return {
            "unet": tuple(unet(sdxl_config(scale))),
            "clip_l": tuple(clip_l("conditioner.embedders.0.transformer", scale)),
            "clip_g": tuple(clip_g("conditioner.embedders.1.model", scale)),
            "vae": tuple(vae(scale)),
        }
    denoiser = tuple(unet(sd15_config(scale)))
    return {
        "schedule": tuple(TensorSpec(name, (TIMESTEPS,)) for name in SCHEDULE_NAMES),
        "unet": denoiser,
        "vae": tuple(vae(scale)),
        "clip_l": tuple(clip_l("cond_stage_model.transformer", scale)),
        "ema": tuple(_averaged(denoiser)),
    }


def _averaged(denoiser: Iterable[TensorSpec]) -> Iterator[TensorSpec]:
    """ldm's LitEma: a copy of each weight, its dots dropped because a module's buffer name may hold none."""
    yield TensorSpec("model_ema.decay", ())
    yield TensorSpec("model_ema.num_updates", ())
    for spec in denoiser:
        name = spec.name.removeprefix("model.").replace(".", "")
        yield TensorSpec(f"model_ema.{name}", spec.shape)
