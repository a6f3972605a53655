"""What LoRA adds to a model: groups of linears that read one tensor, and an adapter's matrices for each."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class LinearGroup:
    """Linears that read the same input (q, k, v; gate, up); `index` numbers groups in a forward pass."""

    index: int
    names: tuple[str, ...]
    linears: tuple[nn.Linear, ...]


@dataclass(frozen=True, kw_only=True)
class LoRAWeights:
    """What one adapter adds to one group: views into the adapter's flat buffers.

    Shapes: `a` and `a_grad` (targets x r, in); `b` and `b_grad` hold (out, r) for each targeted linear.
    `targets` are the indices of these linears in the group.
    """

    targets: list[int]
    rank: int
    a: Tensor
    a_grad: Tensor
    b: list[Tensor]
    b_grad: list[Tensor]

    def columns(self, target: int) -> slice:
        """The columns of the shared low-rank product that belong to the target-th targeted linear."""
        return slice(target * self.rank, (target + 1) * self.rank)
