"""LoRA on embeddings and output projection: PEFT's loss and gradients, beside plain runs, tied or not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from helpers import MakeBase, MakeRecipe, adapter_bytes, plain_model, random_adapter, random_sequences
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.errors import ModelError
from paceline.evaluate.generate import Generator, Request, Sampling
from paceline.export import merge as merging
from paceline.model.adapter import Adapter
from paceline.model.base import Base, load_base
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.dropout import keep_mask
from paceline.model.lora_weights import HEAD
from paceline.model.loss import SoftTarget, TokenLosses, segment_losses
from paceline.model.segment import Segment
from paceline.runs.events import EvalEvent, of_kind, read_events
from paceline.training.study import train_study

from .conftest import PADDING

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")

SEQUENCES = random_sequences((40, 57, 9))
SEQUENCES[0][0][3] = PADDING
ROWS = sum(len(ids) for ids, _ in SEQUENCES)
TARGETS = {
    "head": ["lm_head"],
    "embeddings": ["embed_tokens"],
    "both": ["embed_tokens", "lm_head", "q_proj", "down_proj"],
    "expression": r"model\.layers\.0\.self_attn\.v_proj|lm_head|.*embed_tokens",
}


def one_step(base: Base, adapters: list[Adapter], key: tuple[int, ...] | None = None) -> list[TokenLosses]:
    """Gradients of adapters side by side over the same sequences, and their losses."""
    segments = [Segment(p * ROWS, (p + 1) * ROWS, adapter, key) for p, adapter in enumerate(adapters)]
    for adapter in adapters:
        adapter.gradients.zero_()
    batch = pack_sequences(SEQUENCES * len(adapters), segments, base.device)
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        losses = [
            segment_losses(hidden.detach(), base.head, batch, segment, gradient, 0.01) for segment in segments
        ]
        hidden.backward(gradient)
    return losses


def in_peft(folder: str, recipe: Recipe, ours: Adapter) -> Any:
    """PEFT's model with our matrices."""
    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        target_modules=recipe.target_modules,
        rank_pattern=recipe.rank_pattern,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(plain_model(folder), config)
    for name in ours.names:
        for parameter, matrix in zip(halves(model, name), ours.matrices[name], strict=True):
            parameter.data.copy_(matrix)
    return model


def halves(model: Any, name: str) -> list[Any]:
    module = model.base_model.model.get_submodule(name)
    if module.lora_embedding_A:
        return [module.lora_embedding_A["default"], module.lora_embedding_B["default"]]
    return [module.lora_A["default"].weight, module.lora_B["default"].weight]


@pytest.mark.parametrize("kind", TARGETS)
def test_loss_and_gradients_are_pefts_beside_a_plain_run_and_alone(
    kind: str, ends_base: str, recipe: MakeRecipe, tmp_path: Path
) -> None:
    base = load_base(ends_base)
    common = {"base": ends_base, "lora_r": 6, "lora_alpha": 12, "lora_dropout": 0.0}
    fields = {"target_modules": TARGETS[kind], "rank_pattern": {".*": 5} if kind == "both" else {}}
    chosen = recipe(**common, **fields)
    ours, plain = random_adapter(base, chosen), random_adapter(base, recipe(**common))
    (alone,) = one_step(base, [ours])
    gradients = ours.gradients.clone()
    one_step(base, [plain])
    plain_gradients = plain.gradients.clone()
    _, together = one_step(base, [plain, ours])
    assert torch.equal(together.loss, alone.loss)
    assert torch.equal(ours.gradients, gradients)
    assert torch.equal(plain.gradients, plain_gradients)

    theirs = in_peft(ends_base, chosen, ours)
    expected = []
    for ids, labels in SEQUENCES:
        logits = theirs(ids[None]).logits[0]
        expected.append(F.cross_entropy(logits, labels, reduction="none", ignore_index=-100)[labels >= 0])
    (0.01 * torch.cat(expected).sum()).backward()
    torch.testing.assert_close(together.loss, torch.cat(expected).detach(), atol=2e-6, rtol=1e-6)
    for name in ours.names:
        for found, parameter in zip(ours.gradient_of(name), halves(theirs, name), strict=True):
            assert found.abs().max() > 0
            torch.testing.assert_close(found, parameter.grad, atol=1e-6, rtol=1e-5)

    ids = SEQUENCES[1][0]
    with torch.no_grad():
        wanted = theirs(ids[None]).logits[0]
    ours.save(tmp_path / "ours", chosen)
    loaded = PeftModel.from_pretrained(plain_model(ends_base), str(tmp_path / "ours")).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids[None]).logits[0], wanted, atol=2e-6, rtol=0)
    with pytest.warns(UserWarning, match="embedding layers found in `target_modules`"):
        theirs.save_pretrained(str(tmp_path / "theirs"))
    stored = load_file(tmp_path / "theirs" / "adapter_model.safetensors")
    assert any("base_layer" in key for key in stored), "the base's own ends are there too"
    read = base.new_adapter(chosen)
    read.load(tmp_path / "theirs")
    assert torch.equal(read.parameters, ours.parameters)


def test_dropout_on_the_head_is_that_of_its_mask(ends_base: str, recipe: MakeRecipe) -> None:
    base = load_base(ends_base)
    ours = random_adapter(base, recipe(base=ends_base, target_modules=["lm_head"], lora_dropout=0.4))
    (losses,) = one_step(base, [ours], (1, 2, 3))
    with torch.no_grad():
        batch = pack_sequences(SEQUENCES, [Segment(0, ROWS, None)], base.device)
        with use_batch(batch):
            hidden = base.hidden(batch)[losses.positions]
    labels = batch.labels[0][losses.positions]
    a, b = (matrix.clone().requires_grad_() for matrix in ours.matrices["lm_head"])
    keep = keep_mask((1, 2, 3, HEAD), len(hidden), 64, 0.4, base.device)
    logits = hidden @ base.head.t() + ours.scales["lm_head"] * (hidden * keep / 0.6) @ a.t() @ b.t()
    expected = F.cross_entropy(logits, labels, reduction="none")
    (0.01 * expected.sum()).backward()
    torch.testing.assert_close(losses.loss, expected.detach())
    for found, leaf in zip(ours.gradient_of("lm_head"), (a, b), strict=True):
        torch.testing.assert_close(found, leaf.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("forward", "weighted"), [(True, False), (False, False), (True, True)])
def test_soft_targets_reach_the_head_and_the_hidden_states(
    forward: bool, weighted: bool, loaded_base: Base, recipe: MakeRecipe
) -> None:
    ours = random_adapter(loaded_base, recipe(target_modules=["lm_head"], lora_dropout=0.0))
    ours.gradients.zero_()
    generator = torch.Generator().manual_seed(4)
    count, vocabulary = 200, loaded_base.head.shape[0]
    hidden = torch.randn(count, 64, generator=generator)
    labels = torch.randint(0, vocabulary, (count,), generator=generator)
    piece = Segment(0, count, ours)
    batch = pack_sequences([(labels, labels)], [piece], loaded_base.device)
    positions = torch.arange(3, count, 2)
    other = torch.randn(len(positions), 64, generator=generator)
    weights = torch.rand(count, generator=generator) if weighted else torch.ones(count)
    soft = SoftTarget(
        name="kl",
        positions=positions,
        hidden=other,
        head=loaded_base.head,
        weight=0.3 * weights[positions].double() if weighted else 0.3,
        forward=forward,
        temperature=2.0,
    )
    gradient = torch.zeros_like(hidden)
    scale = 0.7 * weights.double() if weighted else 0.7
    segment_losses(hidden, loaded_base.head, batch, piece, gradient, scale, [soft])
    leaf = hidden.clone().requires_grad_()
    a, b = (matrix.clone().requires_grad_() for matrix in ours.matrices["lm_head"])
    logits = leaf @ loaded_base.head.t() + ours.scales["lm_head"] * leaf @ a.t() @ b.t()
    mine = (logits[positions] / 2).log_softmax(-1)
    theirs = (other @ loaded_base.head.t() / 2).log_softmax(-1)
    first, second = (mine, theirs) if forward else (theirs, mine)
    divergence = F.kl_div(first, second, reduction="none", log_target=True).sum(1) @ weights[positions]
    entropy = F.cross_entropy(logits, labels, reduction="none") @ weights
    (0.7 * entropy + 0.3 * 4 * divergence).backward()
    torch.testing.assert_close(gradient, leaf.grad, atol=1e-4, rtol=1e-4)
    for found, matrix in zip(ours.gradient_of("lm_head"), (a, b), strict=True):
        torch.testing.assert_close(found, matrix.grad, atol=1e-3, rtol=1e-4)


def test_answers_are_those_of_pefts_model_whoever_shares_the_batch(
    ends_base: str, recipe: MakeRecipe
) -> None:
    base = load_base(ends_base)
    chosen = recipe(base=ends_base, target_modules=TARGETS["both"], lora_r=6)
    ours, plain = random_adapter(base, chosen), random_adapter(base, recipe(base=ends_base), 1)
    prompts = [
        [int(token) for token in ids[:length]]
        for (ids, _), length in zip(SEQUENCES, (30, 12, 5), strict=True)
    ]

    def answers(adapters: list[Adapter | None]) -> list[list[int]]:
        sampling = Sampling(max_new_tokens=12)
        requests = [Request(prompt, adapter, sampling) for adapter in adapters for prompt in prompts]
        list(Generator(base, set()).run(requests))
        return [request.tokens for request in requests if request.adapter is ours]

    assert answers([plain, ours, None]) == answers([ours])
    theirs = in_peft(ends_base, chosen, ours).eval()
    for prompt, tokens in zip(prompts, answers([ours]), strict=True):
        with torch.no_grad():
            logits = theirs(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == tokens


def test_a_merge_is_right_or_refused_where_the_ends_are_tied(
    ends_base: str, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(ends_base)
    chosen = recipe(base=ends_base, target_modules=TARGETS["both"])
    random_adapter(base, chosen).save(tmp_path / "run", chosen)
    monkeypatch.setattr(merging, "_prompts", lambda _: [ids.tolist() for ids, _ in SEQUENCES])
    if base.tied:
        with pytest.raises(ModelError, match="one weight for embeddings and output projection") as caught:
            merging.merge(tmp_path / "run", tmp_path / "merged", "float32")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "merged").exists()
    else:
        result = merging.merge(tmp_path / "run", tmp_path / "merged", "float32")
        assert result.error <= result.tolerance


def test_all_linear_leaves_the_ends_out_and_a_full_name_is_a_target_in_any_layer(
    loaded_base: Base, recipe: MakeRecipe
) -> None:
    assert not {"lm_head", "model.embed_tokens"} & set(
        loaded_base.targets(recipe(target_modules="all-linear"))
    )
    found = loaded_base.targets(recipe(target_modules=["q_proj", "lm_head"], layers_to_transform=[1]))
    assert set(found) == {"model.layers.1.self_attn.q_proj", "lm_head"}


def test_a_file_with_other_ends_than_the_bases_is_refused(
    loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> None:
    """PEFT stores the ends of a base that was changed (new tokens) beside the adapter."""
    chosen = recipe(target_modules=["lm_head"])
    theirs = in_peft(chosen.base, chosen, random_adapter(loaded_base, chosen))
    theirs.base_model.model.lm_head.base_layer.weight.data[3] += 1
    with pytest.warns(UserWarning, match="embedding layers found in `target_modules`"):
        theirs.save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == ["lm_head"]
    with pytest.raises(ModelError, match=r"lm_head.* are not the base's own"):
        loaded_base.new_adapter(chosen).load(tmp_path)


def test_runs_with_and_without_the_ends_train_together_as_alone(
    tiny_base: MakeBase, sums: str, tmp_path: Path
) -> None:
    common = {
        "base": tiny_base(),
        "data": sums,
        "max_length": 128,
        "max_steps": 3,
        "lr": 2e-3,
        "eval_steps": 2,
    }
    fields: dict[str, dict[str, Any]] = {
        "plain": {},
        "ends": {"target_modules": TARGETS["both"], "kl": {"coef": 0.1}, "gradient_checkpointing": True},
        "head": {"target_modules": ["lm_head"], "lora_dropout": 0.3},
    }
    runs = [Run(name=name, recipe=make_recipe({**common, **own}, name)) for name, own in fields.items()]
    train_study(Study(name="all", runs=runs), tmp_path / "all")
    for run in runs:
        train_study(Study(name=run.name, runs=[run]), tmp_path / run.name)
        assert adapter_bytes(tmp_path / "all" / run.name) == adapter_bytes(tmp_path / run.name / run.name)
    logged = read_events(tmp_path / "all" / "ends" / "events.jsonl")
    losses = [event.loss for event in of_kind(logged, EvalEvent)]
    assert losses[-1] < losses[0]
