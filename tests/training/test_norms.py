"""Norms of an adapter, against the whole matrices."""

import pytest
import torch

from helpers import MakeRecipe, plain_model, random_adapter
from paceline.model.base import Base
from paceline.training.norms import adapter_norms


def test_norms_are_those_of_the_matrices(loaded_base: Base, recipe: MakeRecipe) -> None:
    made = recipe(lora_r=8, lora_alpha=24, target_modules=["q_proj", "up_proj"])
    adapter = random_adapter(loaded_base, made)
    found = adapter_norms(adapter, loaded_base.weight_norms)
    model = plain_model(made.base)
    weights = {name: model.get_submodule(name).weight for name in adapter.names}
    updates = {name: 3 * b @ a for name, (a, b) in adapter.matrices.items()}
    keys = {"q_proj": found.modules["q_proj"].update, "up_proj": found.modules["up_proj"].update}
    keys |= {f".{layer}.": share for layer, share in found.layers.items()}
    assert keys.keys() == {"q_proj", "up_proj", ".0.", ".1."}
    for key, share in keys.items():
        moved, whole = (
            torch.cat([matrix.flatten() for name, matrix in table.items() if key in name]).norm().item()
            for table in (updates, weights)
        )
        assert share == pytest.approx(moved / whole, rel=1e-4)
    for kind, norms in found.modules.items():
        halves = zip(*(pair for name, pair in adapter.matrices.items() if name.endswith(kind)), strict=True)
        a, b = (torch.cat([matrix.flatten() for matrix in half]).norm().item() for half in halves)
        assert [norms.a, norms.b] == pytest.approx([a, b], rel=1e-5)


def test_a_new_adapter_has_not_moved(loaded_base: Base, recipe: MakeRecipe) -> None:
    adapter = loaded_base.new_adapter(recipe())
    adapter.initialize(0)
    found = adapter_norms(adapter, loaded_base.weight_norms)
    assert set(found.layers.values()) == {0.0}
    assert all(norms.a > 0 and norms.b == norms.update == 0 for norms in found.modules.values())
