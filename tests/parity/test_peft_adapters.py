"""Every kind of adapter learns what PEFT and torch's AdamW make of it, beside a plain run in one batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import AutoModelForCausalLM

from helpers import MakeBase, MakeRecipe, packed_logits, plain_model, random_sequences
from paceline.config.recipe import Recipe
from paceline.model.adapter import Adapter
from paceline.model.base import Base, load_base
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.loss import segment_losses
from paceline.model.peft_config import read_peft_config
from paceline.model.quantization import BaseFormat
from paceline.model.segment import Segment
from paceline.training.optimizer import make_optimizer, set_rate

LENGTHS = (40, 57)
SEQUENCES = random_sequences(LENGTHS)
ROWS = sum(LENGTHS)
RATES = (1e-3, 2e-3, 5e-4, 1e-3)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gaussian": {"init_lora_weights": "gaussian"},
    "patterns": {
        "rank_pattern": {"q_proj": 3, r"layers\.1\.mlp\..*": 9},
        "alpha_pattern": {"down_proj": 4, "0.self_attn.v_proj": 64},
        "target_modules": "all-linear",
    },
    "patterns-rslora": {"use_rslora": True, "rank_pattern": {"mlp.up_proj": 2}},
    "layers": {"layers_to_transform": [1], "layers_pattern": "layers", "exclude_modules": ["k_proj"]},
    "dora": {"use_dora": True, "lora_r": 4},
    "dora-rslora": {"use_dora": True, "use_rslora": True, "rank_pattern": {"o_proj": 2}},
    "loraplus": {"loraplus_lr_ratio": 8.0, "weight_decay": 0.1},
    "loraplus-dora": {"loraplus_lr_ratio": 8.0, "weight_decay": 0.1, "use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa-patterns": {
        "init_lora_weights": "pissa",
        "rank_pattern": {"v_proj": 5},
        "alpha_pattern": {"q_proj": 8},
    },
    "olora": {"init_lora_weights": "olora"},
}


def learn(base: Base, recipes: list[Recipe]) -> list[Adapter]:
    """Adapters trained side by side over the same sequences."""
    adapters = [base.new_adapter(recipe) for recipe in recipes]
    optimizers = [make_optimizer(recipe, adapter) for recipe, adapter in zip(recipes, adapters, strict=True)]
    for recipe, adapter in zip(recipes, adapters, strict=True):
        adapter.initialize(recipe.seed)
    for rate in RATES:
        segments = [
            Segment(place * ROWS, (place + 1) * ROWS, adapter) for place, adapter in enumerate(adapters)
        ]
        for adapter in adapters:
            adapter.gradients.zero_()
        batch = pack_sequences(SEQUENCES * len(adapters), segments, base.device)
        with use_batch(batch):
            hidden = base.hidden(batch)
            gradient = torch.zeros_like(hidden)
            for segment in segments:
                segment_losses(hidden.detach(), base.head, batch, segment, gradient, 0.01)
            hidden.backward(gradient)
        for optimizer in optimizers:
            set_rate(optimizer, rate)
            optimizer.step()
    return adapters


def learn_in_peft(model: Any, recipe: Recipe, start: Adapter) -> Any:
    """The same in PEFT; our first A and B, except where PEFT computes them from the base itself."""
    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        target_modules=recipe.target_modules,
        exclude_modules=recipe.exclude_modules,
        layers_to_transform=recipe.layers_to_transform,
        layers_pattern=recipe.layers_pattern,
        rank_pattern=recipe.rank_pattern,
        alpha_pattern=recipe.alpha_pattern,
        use_rslora=recipe.use_rslora,
        use_dora=recipe.use_dora,
        init_lora_weights=recipe.init_lora_weights,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    adapted = {
        name.removeprefix("base_model.model.") for name, m in model.named_modules() if hasattr(m, "lora_A")
    }
    assert adapted == set(start.names)
    if recipe.init_lora_weights in (True, "gaussian"):
        for name, (a, b) in start.matrices.items():
            module = model.base_model.model.get_submodule(name)
            module.lora_A["default"].weight.data.copy_(a)
            module.lora_B["default"].weight.data.copy_(b)
    options: dict[str, Any] = {"betas": (0.9, 0.999), "eps": recipe.adam_epsilon}
    ratio = recipe.loraplus_lr_ratio
    if ratio is None:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer: Any = torch.optim.AdamW(trained, weight_decay=recipe.weight_decay, lr=1.0, **options)
    else:
        optimizer = create_loraplus_optimizer(
            model,
            torch.optim.AdamW,
            lr=1.0,
            loraplus_lr_ratio=ratio,
            loraplus_weight_decay=recipe.weight_decay,
            **options,
        )
    first = [group["lr"] for group in optimizer.param_groups]
    for rate in RATES:
        optimizer.zero_grad()
        for ids, labels in SEQUENCES:
            logits = model(ids[None]).logits[0]
            (0.01 * F.cross_entropy(logits, labels, reduction="sum", ignore_index=-100)).backward()
        for group, own in zip(optimizer.param_groups, first, strict=True):
            group["lr"] = own * rate
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_learns_what_it_learns_in_peft(
    kind: str, architecture: str, tiny_base: MakeBase, recipe: MakeRecipe, tmp_path: Path
) -> None:
    if architecture == "qwen2" and kind not in ("dora", "pissa", "patterns"):
        pytest.skip("biases matter to these alone")
    folder = tiny_base(architecture)
    base = load_base(folder)
    common = {"base": folder, "lora_r": 6, "lora_alpha": 12, "lora_dropout": 0.0}
    recipes = [recipe(**common), recipe(**common | KINDS[kind])]
    plain, ours = learn(base, recipes)
    (alone,) = learn(base, recipes[1:])
    assert torch.equal(alone.parameters, ours.parameters)
    assert torch.equal(learn(base, recipes[:1])[0].parameters, plain.parameters)

    start = base.new_adapter(recipes[1])
    start.initialize(recipes[1].seed)
    theirs = learn_in_peft(plain_model(folder), recipes[1], start)
    ids = SEQUENCES[0][0]
    with torch.no_grad():
        expected = theirs(ids[None]).logits[0]
        untrained = packed_logits(base, [ids])[0]
    (found,) = packed_logits(base, [ids], ours)
    assert (untrained - expected).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)

    ours.save(tmp_path, recipes[1])
    loaded = PeftModel.from_pretrained(plain_model(folder), str(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids[None]).logits[0], found, atol=5e-6, rtol=0)
        merged = loaded.merge_and_unload()(ids[None]).logits[0]
    torch.testing.assert_close(merged, found, atol=2e-5, rtol=0)

    stored = recipe(**read_peft_config(tmp_path))
    served = base.new_adapter(stored)
    served.load(tmp_path)
    assert served.scales == pytest.approx(ours.scales)
    torch.testing.assert_close(packed_logits(base, [ids], served)[0], found, atol=5e-6, rtol=0)


@pytest.mark.parametrize("kind", ["plain", "dora"])
@pytest.mark.parametrize("quantize", ["nf4", "nf4-double"])
def test_an_adapter_over_four_bits_learns_what_it_learns_in_peft(
    kind: str, quantize: Any, tiny_base: MakeBase, recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    # on CPUs that have it bitsandbytes computes in bf16 where nothing needs a gradient
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    folder, stored = tiny_base(), BaseFormat(quantize)
    common = {"base": folder, "quantize": quantize, "lora_r": 6, "lora_alpha": 12, "lora_dropout": 0.0}
    base, chosen = load_base(folder, base_format=stored), recipe(**common | KINDS[kind])
    ours = learn(base, [recipe(**common), chosen])[1]
    start = base.new_adapter(chosen)
    start.initialize(chosen.seed)
    quantized = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        quantization_config=stored.configuration(base.device),
    )
    theirs = learn_in_peft(quantized.requires_grad_(False), chosen, start)
    ids = SEQUENCES[0][0]
    with torch.no_grad():
        expected = theirs(ids[None]).logits[0]
    (found,) = packed_logits(base, [ids], ours)
    assert (packed_logits(base, [ids])[0] - expected).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
