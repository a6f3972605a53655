"""What LoRA adds to a model: groups of linears that read one tensor, and an adapter's matrices for each."""

from dataclasses import dataclass, field
from itertools import accumulate

from torch import Tensor, nn

# Numbers of the groups at the model's ends (see `ends`), beyond those of any layers.
HEAD, EMBEDDING = 2**31, 2**31 + 1


@dataclass(frozen=True)
class LinearGroup:
    """Linears that read the same input (q, k, v; gate, up); `index` numbers groups in a forward pass."""

    index: int
    names: tuple[str, ...]
    linears: tuple[nn.Linear, ...]


@dataclass(frozen=True, kw_only=True)
class LoRAWeights:
    """What one adapter adds to one group: views into the adapter's flat buffers.

    Shapes: `a` and `a_grad` (sum of ranks, in); `b` and `b_grad` hold (out, r) for each targeted linear, and
    so do `magnitude` and `magnitude_grad` (out,) with DoRA, else they are empty. `targets` are the indices of
    these linears in the group, `ranks` and `scales` their own. `start` are frozen copies of A and B whose
    product is subtracted (PiSSA, OLoRA); None: nothing is.
    """

    targets: list[int]
    ranks: list[int]
    scales: list[float]
    a: Tensor
    a_grad: Tensor
    b: list[Tensor]
    b_grad: list[Tensor]
    magnitude: list[Tensor] = field(default_factory=list)
    magnitude_grad: list[Tensor] = field(default_factory=list)
    start: tuple[Tensor, list[Tensor]] | None = None

    def columns(self, target: int) -> slice:
        """The columns of the shared low-rank product that belong to the target-th targeted linear."""
        stops = list(accumulate(self.ranks, initial=0))
        return slice(stops[target], stops[target + 1])
