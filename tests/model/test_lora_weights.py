"""A targeted linear's columns of the shared low-rank product."""

import torch

from paceline.model.lora_weights import LoRAWeights


def test_the_columns_of_the_targets_lie_side_by_side() -> None:
    a, b = torch.zeros(9, 4), torch.zeros(5, 3)
    own = {"targets": [0, 2, 3], "ranks": [3, 2, 4], "scales": [1.0] * 3}
    weights = LoRAWeights(**own, a=a, a_grad=a, b=[b] * 3, b_grad=[b] * 3)  # type: ignore[arg-type]
    assert [weights.columns(target) for target in range(3)] == [slice(0, 3), slice(3, 5), slice(5, 9)]
