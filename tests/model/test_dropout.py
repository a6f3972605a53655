"""A dropout mask is a function of its key."""

import pytest
import torch

from helpers import CPU
from paceline.model.dropout import keep_mask


def test_dropout_masks_depend_on_their_key_alone_and_drop_the_right_share() -> None:
    first = keep_mask((1, 2, 3), 500, 301, 0.05, CPU)
    torch.rand(10)
    assert torch.equal(first, keep_mask((1, 2, 3), 500, 301, 0.05, CPU))
    assert not torch.equal(first, keep_mask((1, 2, 4), 500, 301, 0.05, CPU))
    assert 1 - first.float().mean() == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_every_row_and_column_drops_about_the_same_share(p: float) -> None:
    keep = keep_mask((7,), 400, 500, p, CPU).float()
    assert keep.shape == (400, 500)
    for dim in (0, 1):  # seven standard deviations of the smaller sample
        assert (keep.mean(dim) - (1 - p)).abs().max() < 7 * (p * (1 - p) / 400) ** 0.5


def test_with_a_share_of_zero_all_is_kept() -> None:
    assert keep_mask((1,), 3, 5, 0.0, CPU).all()


def test_a_shape_that_fills_no_whole_draw_is_filled() -> None:
    assert keep_mask((1,), 1, 3, 0.5, CPU).shape == (1, 3)
    assert torch.equal(keep_mask((1,), 1, 3, 0.5, CPU)[0], keep_mask((1,), 1, 4, 0.5, CPU)[0, :3])
