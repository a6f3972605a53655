"""Starts of A and B against the linear algebra that they stand for."""

import pytest
import torch
from torch import nn

from paceline.errors import ModelError
from paceline.model.initialization import initial_weights


@pytest.fixture
def linear() -> nn.Linear:
    """A weight whose singular values fall quickly."""
    torch.manual_seed(0)
    made = nn.Linear(24, 40, bias=False)
    left, _ = torch.linalg.qr(torch.randn(40, 24))
    right, _ = torch.linalg.qr(torch.randn(24, 24))
    made.weight.data = left * (0.5 ** torch.arange(24.0)) @ right
    return made


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_8"])
def test_pissa_is_the_best_approximation_of_its_rank(start: str, linear: nn.Linear) -> None:
    a, b = initial_weights(start, 1, "name", linear, 5, 2.0)
    left, values, right = torch.linalg.svd(linear.weight.detach().double())
    best = left[:, :5] * values[:5] @ right[:5]
    torch.testing.assert_close(2.0 * (b @ a).double(), best, atol=1e-5, rtol=0)
    state = torch.get_rng_state()
    again = initial_weights(start, 1, "name", linear, 5, 2.0)
    assert torch.equal(again[0], a)
    assert torch.equal(torch.get_rng_state(), state)


def test_gaussian_has_pefts_deviation(linear: nn.Linear) -> None:
    a, b = initial_weights("gaussian", 1, "name", linear, 16, 2.0)
    assert a.std() == pytest.approx(1 / 16, rel=0.1)
    assert not b.any()


def test_more_directions_than_a_weight_has_are_refused(linear: nn.Linear) -> None:
    with pytest.raises(ModelError, match="has no 25 directions"):
        initial_weights("olora", 1, "name", linear, 25, 2.0)
