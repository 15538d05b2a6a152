"""One named tensor, and the few layer kinds that every Stable Diffusion part is made of."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

WIDTH_MULTIPLE = 8


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name in the checkpoint and its shape. The dtype is the file's choice, not the layout's."""

    name: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many elements it holds (1 for a scalar)."""
        return math.prod(self.shape)


def check_scale(scale: float) -> None:
    """Raise ValueError unless 0 < scale <= 1."""
    if not 0 < scale <= 1:
        raise ValueError(f"scale must be above 0 and at most 1, not {scale}")


def narrow(width: int, scale: float) -> int:
    """The channel width at a scale: rounded to a multiple of 8, at least 8, unchanged at scale 1."""
    check_scale(scale)
    return max(WIDTH_MULTIPLE, round(width * scale / WIDTH_MULTIPLE) * WIDTH_MULTIPLE)


def shorten(vocabulary: int, scale: float) -> int:
    """The vocabulary size at a scale, so that an embedding shrinks with the square of the scale too."""
    check_scale(scale)
    return max(1, round(vocabulary * scale))


def linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Iterator[TensorSpec]:
    """A fully connected layer."""
    yield TensorSpec(f"{name}.weight", (outputs, inputs))
    if bias:
        yield TensorSpec(f"{name}.bias", (outputs,))


def conv(name: str, inputs: int, outputs: int, kernel: int) -> Iterator[TensorSpec]:
    """A two-dimensional convolution with a square kernel and a bias."""
    yield TensorSpec(f"{name}.weight", (outputs, inputs, kernel, kernel))
    yield TensorSpec(f"{name}.bias", (outputs,))


def norm(name: str, width: int) -> Iterator[TensorSpec]:
    """A group or layer normalisation with its scale and shift."""
    yield TensorSpec(f"{name}.weight", (width,))
    yield TensorSpec(f"{name}.bias", (width,))
