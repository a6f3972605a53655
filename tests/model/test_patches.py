"""What is patched into a transformers model can be taken out again, and nothing outlives the forward it belongs to."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from paceline.errors import ModelError
from paceline.model.base import wrap_model
from paceline.model.batch import Segment, current_context, pack_sequences, use_batch

IDS = torch.arange(10, 60)


@pytest.fixture
def model(tiny_base):
    return AutoModelForCausalLM.from_pretrained(tiny_base("qwen3"), dtype=torch.float32).eval()


@pytest.fixture
def batch():
    return pack_sequences([(IDS, IDS)], [Segment(0, len(IDS), None)], torch.device("cpu"))


def forwards(model):
    return {
        name: module.__dict__["forward"]
        for name, module in model.named_modules()
        if "forward" in module.__dict__
    }


def test_removed_patches_leave_the_model_as_it_came(model):
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


def test_checkpointing_goes_on_and_off(model):
    base = wrap_model(model, "tiny")
    plain = forwards(model)
    base.checkpoint_layers(True)
    base.checkpoint_layers(True)
    assert len(forwards(model)) == len(plain) + len(model.model.layers)
    base.checkpoint_layers(False)
    assert forwards(model) == plain


def test_a_model_that_is_refused_is_left_as_it_came(model, monkeypatch):
    def refuse(base):
        raise ModelError("not this one")

    monkeypatch.setattr("paceline.model.base._check_head", refuse)
    with pytest.raises(ModelError):
        wrap_model(model, "tiny")
    assert forwards(model) == {}


def test_an_exception_between_grouped_linears_leaves_nothing_behind(model, batch):
    """gate_proj has computed up_proj's output when the activation raises: a later plain call must not get it."""
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


class _Raises(torch.nn.Module):
    def forward(self, x):
        raise MemoryError


def test_one_batch_is_not_entered_inside_another_by_mistake(batch):
    with use_batch(batch):
        with pytest.raises(RuntimeError, match="another one is under way"), use_batch(batch):
            pass
        assert current_context() is not None
        with use_batch(batch, within=batch):
            pass
    assert current_context() is None


def test_the_patched_model_still_answers_plain_calls(model):
    """Outside a packed batch the linears and norms compute what their classes do."""
    plain = model.model.layers[0].mlp
    x = torch.randn(1, 3, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = plain(x)
        wrap_model(model, "tiny")
        torch.testing.assert_close(plain(x), expected, atol=1e-6, rtol=1e-6)
