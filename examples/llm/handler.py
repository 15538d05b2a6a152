"""A text function: a prompt in, its continuation out, on whatever model the request names.

hoist serve handler:Text --models STORAGE//NAME:VERSION ...
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria

from hoist.errors import UsageError
from hoist.function.handler import Request
from hoist.function.model import Model
from hoist.integrations.transformers import load_model, load_tokenizer

MOST_TOKENS = 2048


@dataclass(frozen=True)
class Loaded:
    """A model and its tokenizer. `generate` keeps nothing in the model, so many requests may run at once."""

    model: Any
    tokenizer: Any


class Text:
    """What `hoist serve` runs."""

    def load(self, model: Model) -> Loaded:
        """A transformers model around the model's tensors."""
        return Loaded(load_model(model), load_tokenizer(model))

    def handle(self, loaded: Loaded, request: Request) -> dict[str, Any]:
        """The text that follows a prompt."""
        body = request.json
        if not isinstance(body, dict) or not isinstance(body.get("prompt"), str) or not body["prompt"]:
            raise UsageError('send JSON with a prompt: {"prompt": "Once upon a time"}')
        tokens = body.get("tokens", 32)
        if not isinstance(tokens, int) or isinstance(tokens, bool) or not 1 <= tokens <= MOST_TOKENS:
            raise UsageError(f"tokens is a whole number from 1 to {MOST_TOKENS}")
        given = loaded.tokenizer(body["prompt"], return_tensors="pt").to(loaded.model.device)
        with torch.inference_mode():
            found = loaded.model.generate(
                **given,
                max_new_tokens=tokens,
                do_sample=False,
                pad_token_id=loaded.tokenizer.eos_token_id,
                stopping_criteria=[_NobodyWaits(request)],
            )
        made = found[0, given["input_ids"].shape[1] :]
        return {"text": loaded.tokenizer.decode(made, skip_special_tokens=True), "tokens": len(made)}


class _NobodyWaits(StoppingCriteria):  # type: ignore[misc]
    """Ends a generation whose client has gone or whose deadline is over."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        return torch.full((len(input_ids),), self._request.cancelled(), device=input_ids.device)
