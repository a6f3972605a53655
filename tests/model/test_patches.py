"""Patches can be taken out of a transformers model again, and nothing outlives its forward."""

from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn

from helpers import CPU, MakeBase, packed_logits, plain_model
from paceline.errors import ModelError
from paceline.model.base import Base, wrap_model
from paceline.model.batch import PackedBatch, current_context, pack_sequences, use_batch
from paceline.model.segment import Segment

IDS = torch.arange(10, 60)


@pytest.fixture
def model(tiny_base: MakeBase) -> Any:
    return plain_model(tiny_base())


@pytest.fixture
def batch() -> PackedBatch:
    return pack_sequences([(IDS, IDS)], [Segment(0, len(IDS), None)], CPU)


def forwards(model: nn.Module) -> dict[str, Callable[..., Any]]:
    return {
        name: module.__dict__["forward"]
        for name, module in model.named_modules()
        if "forward" in module.__dict__
    }


def test_removed_patches_leave_the_model_as_it_came(model: Any) -> None:
    own_attention, before = model.config._attn_implementation, forwards(model)
    with torch.no_grad():
        expected = model(IDS[None]).logits
    base = wrap_model(model, "tiny")
    base.checkpoint_layers(True)
    assert len(forwards(model)) > len(before)
    base.patches.remove()
    assert forwards(model) == before
    assert model.config._attn_implementation == own_attention
    with torch.no_grad():
        assert torch.equal(model(IDS[None]).logits, expected)
    base.patches.remove()  # a second time there is nothing to do


def test_checkpointing_goes_on_and_off(model: Any) -> None:
    base = wrap_model(model, "tiny")
    plain = forwards(model)
    base.checkpoint_layers(True)
    base.checkpoint_layers(True)
    assert len(forwards(model)) == len(plain) + len(model.model.layers)
    base.checkpoint_layers(False)
    assert forwards(model) == plain


def test_a_model_that_is_refused_is_left_as_it_came(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(base: Base) -> NoReturn:
        raise ModelError("not this one")

    monkeypatch.setattr("paceline.model.base.probe", refuse)
    with pytest.raises(ModelError):
        wrap_model(model, "tiny")
    assert forwards(model) == {}


def test_an_exception_between_grouped_linears_leaves_nothing_behind(model: Any, batch: PackedBatch) -> None:
    """gate_proj has computed up_proj's output when the activation raises: no later call may get it."""
    base, mlp = wrap_model(model, "tiny"), model.model.layers[0].mlp
    x = torch.randn(1, 40, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    expected = mlp(x)
    working, mlp.act_fn = mlp.act_fn, _Raises()
    with pytest.raises(MemoryError), use_batch(batch), torch.no_grad():
        base.hidden(batch)
    mlp.act_fn = working
    assert current_context() is None
    assert torch.equal(mlp(x), expected)
    assert torch.equal(mlp.up_proj(x), torch.nn.functional.linear(x, mlp.up_proj.weight))


class _Raises(nn.Module):
    def forward(self, x: Tensor) -> NoReturn:
        raise MemoryError


def test_the_patched_model_still_answers_plain_calls(model: Any) -> None:
    """Outside a packed batch the linears and norms compute what their classes do."""
    plain = model.model.layers[0].mlp
    x = torch.randn(1, 3, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = plain(x)
        wrap_model(model, "tiny")
        torch.testing.assert_close(plain(x), expected, atol=1e-6, rtol=1e-6)


def test_patches_that_were_taken_out_can_be_put_in_again(model: Any) -> None:
    base = wrap_model(model, "tiny")
    before = forwards(model)
    (expected,) = packed_logits(base, [IDS])
    base.patches.remove()
    again = wrap_model(model, "tiny")
    assert forwards(model).keys() == before.keys()
    assert torch.equal(packed_logits(again, [IDS])[0], expected)


def test_recomputed_layers_give_the_same_bits(model: Any) -> None:
    base = wrap_model(model, "tiny")
    (expected,) = packed_logits(base, [IDS])
    base.checkpoint_layers(True)
    assert torch.equal(packed_logits(base, [IDS])[0], expected)
