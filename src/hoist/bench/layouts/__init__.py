"""The tensor names and shapes of original-layout Stable Diffusion checkpoints, computed from their configs.

"Original layout" is CompVis ldm's and Stability sgm's naming, which WebUI checkpoints hold. Everything here is
pure and needs only the standard library: no weights, no torch.
"""

from hoist.bench.layouts.checkpoint import FAMILIES, Component, Family, components
from hoist.bench.layouts.tensor import TensorSpec

__all__ = ["FAMILIES", "Component", "Family", "TensorSpec", "components"]
