"""What several tests of training share: a small prepared recipe."""

import pytest

from helpers import MakeBase
from paceline.config.load import make_recipe
from paceline.training.prepare import Prepared, Preparer


@pytest.fixture(scope="session")
def prepared(tiny_base: MakeBase, sums: str) -> Prepared:
    """60 of the sums, eight examples a step, no dropout."""
    fields = {
        "base": tiny_base(),
        "data": {"source": sums, "n": 60, "eval_ratio": 0.25},
        "max_length": 128,
        "lora_r": 4,
        "lora_dropout": 0.0,
        "batch_size": 4,
        "grad_accum": 2,
    }
    return Preparer().prepare(make_recipe(fields, "test"))
