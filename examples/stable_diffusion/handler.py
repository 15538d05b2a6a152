"""A Stable Diffusion function: a prompt in, a PNG out, on whatever checkpoint the request names.

hoist serve handler:StableDiffusion --models STORAGE//NAME:VERSION ...
"""

import io
from threading import Lock
from typing import Any

import torch

from hoist.errors import Cancelled, UsageError
from hoist.function.handler import Request, Response
from hoist.function.model import Model
from hoist.integrations.diffusers import load_pipeline

MOST_STEPS, MOST_SIZE = 150, 1024


class StableDiffusion:
    """What `hoist serve` runs: one pipeline for each model, on the tensors that Hoist has in memory."""

    def load(self, model: Model) -> "Loaded":
        """A pipeline around the model's tensors."""
        return Loaded(load_pipeline(model))

    def handle(self, loaded: "Loaded", request: Request) -> Response:
        """The picture of a request's prompt."""
        asked = Asked(request.json)
        with loaded.turn:  # a pipeline's scheduler keeps the state of one picture
            image = loaded.draw(asked, request)
        file = io.BytesIO()
        image.save(file, "PNG")
        return Response(file.getvalue(), "image/png", headers={"X-Seed": str(asked.seed)})

    def unload(self, loaded: "Loaded") -> None:
        """Let the pipeline go; its tensors are Hoist's."""
        del loaded.pipeline


class Loaded:
    """A pipeline, and whose turn it is."""

    def __init__(self, pipeline: Any) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline
        self.turn = Lock()

    def draw(self, asked: "Asked", request: Request) -> Any:
        """One picture. Raises Cancelled when nobody waits for it any more."""

        def each_step(pipeline: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if request.cancelled():
                raise Cancelled("nobody waits for this picture any more")
            return tensors

        found = self.pipeline(
            asked.prompt,
            negative_prompt=asked.negative_prompt,
            num_inference_steps=asked.steps,
            guidance_scale=asked.guidance,
            width=asked.width,
            height=asked.height,
            generator=torch.Generator("cpu").manual_seed(asked.seed),
            callback_on_step_end=each_step,
        )
        return found.images[0]


class Asked:
    """What a request asks for, checked. Raises UsageError, which the client is told."""

    def __init__(self, body: Any) -> None:
        if not isinstance(body, dict) or not isinstance(body.get("prompt"), str):
            raise UsageError('send JSON with a prompt: {"prompt": "a red fox"}')
        self.prompt: str = body["prompt"]
        self.negative_prompt = str(body.get("negative_prompt", ""))
        self.steps = _number(body, "steps", 20, 1, MOST_STEPS)
        self.width = _number(body, "width", 512, 64, MOST_SIZE) // 8 * 8
        self.height = _number(body, "height", 512, 64, MOST_SIZE) // 8 * 8
        self.seed = _number(body, "seed", 0, 0, (1 << 63) - 1)
        guidance = body.get("guidance", 7.5)
        if not isinstance(guidance, int | float) or not 0 <= guidance <= 50:
            raise UsageError("guidance is a number from 0 to 50")
        self.guidance = float(guidance)


def _number(body: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{name} is a whole number from {least} to {most}")
    return value
