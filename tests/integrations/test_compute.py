"""Computing in another dtype than the weights': the numbers are those of cast weights, the weights stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hoist.errors import UsageError
from hoist.integrations.compute import choose_dtype, compute_in


class Part(nn.Module):
    """Each kind of layer that is known, a norm, and a weight of the module's own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, 8)
        self.narrow = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.wide = nn.Conv2d(8, 4, 3, padding=1, padding_mode="circular", bias=False)
        self.out = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.rand(3))
        self.register_buffer("shift", torch.rand(3))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        made = self.norm(self.narrow(self.embed(tokens).transpose(1, 2)))
        made = self.wide(made[..., None].expand(-1, -1, -1, 4)).mean(3).transpose(1, 2)
        found: torch.Tensor = self.out(made) * self.scale + self.shift
        return found


@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16])
def test_the_numbers_are_those_of_cast_weights(kept: torch.dtype) -> None:
    torch.manual_seed(0)
    module, tokens = Part().to(kept), torch.arange(10)[None] % 16
    cast = Part()
    cast.load_state_dict({name: each.float() for name, each in module.state_dict().items()})
    before = {name: each.data_ptr() for name, each in module.named_parameters()}
    compute_in(module, torch.float32)
    assert torch.equal(module(tokens), cast(tokens))
    after = {name for name, each in module.named_parameters() if each.data_ptr() != before[name]}
    assert after == {"norm.weight", "norm.bias", "scale"}
    assert module.out.weight.dtype == kept


def test_a_layer_that_means_something_else_by_its_weight_is_cast_itself() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.weight * 2)

    layer = Doubled(4, 4, bias=False).to(torch.float16)
    expected = layer.weight.float() * 2
    compute_in(layer, torch.float32)
    assert torch.equal(layer(torch.eye(4)), expected.T)


@pytest.mark.parametrize(
    ("dtypes", "chosen"),
    [
        (["float32"], None),
        (["bfloat16"], None),
        (["float16"], "float32"),
        (["float16", "float32"], "float32"),
        (["bfloat16", "float32"], "float32"),
        (["bfloat16", "float64"], "float64"),
    ],
)
def test_what_is_chosen_on_a_cpu(dtypes: list[str], chosen: str | None) -> None:
    modules = [nn.Linear(2, 2).to(getattr(torch, dtype)) for dtype in dtypes]
    assert choose_dtype(modules) == (chosen and getattr(torch, chosen))
    assert choose_dtype(modules, "bf16") == torch.bfloat16
    assert choose_dtype(modules, None) is None


def test_what_is_chosen_elsewhere() -> None:
    half = nn.Linear(2, 2, device="meta", dtype=torch.float16)
    assert choose_dtype([half]) is None
    assert choose_dtype([half, nn.Linear(2, 2, device="meta", dtype=torch.bfloat16)]) == torch.float32
    assert choose_dtype([half, nn.Linear(2, 2, device="meta")]) == torch.float32


def test_what_is_no_dtype_to_compute_in() -> None:
    with pytest.raises(UsageError, match="is not a floating-point dtype"):
        choose_dtype([], "int8")
    with pytest.raises(UsageError, match=r"torch.int8 is not a dtype to compute in"):
        compute_in(nn.Linear(2, 2), torch.int8)
