"""Rows of the ends that are trained whole: PEFT's gradients, steps and files, beside plain runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from helpers import MakeBase, MakeRecipe, adapter_bytes, plain_model, random_sequences
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.errors import ConfigError, ModelError, TrainingError
from paceline.evaluate.adapters import load_adapters
from paceline.evaluate.generate import Generator, Request, Sampling
from paceline.export import merge as merging
from paceline.model.adapter import Adapter
from paceline.model.base import Base, load_base
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.lora_weights import HEAD
from paceline.model.loss import SoftTarget, TokenLosses, segment_losses
from paceline.model.peft_config import read_peft_config
from paceline.model.quantization import BaseFormat
from paceline.model.segment import Segment
from paceline.training.optimizer import make_optimizer, set_rate
from paceline.training.study import TrainingOptions, train_study

from .conftest import PADDING

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")

SEQUENCES = random_sequences((40, 57, 9))
SEQUENCES[0][0][3] = SEQUENCES[1][0][5] = PADDING
ROWS = sum(len(ids) for ids, _ in SEQUENCES)
RATES = (1e-3, 2e-3, 5e-4)
# in an order of their own, a padding token and one that never stands there among them
TOKENS = [int(SEQUENCES[1][0][30]), PADDING, int(SEQUENCES[0][1][-1]), 4090, int(SEQUENCES[0][0][3 + 1])]


def one_step(base: Base, adapters: list[Adapter]) -> list[TokenLosses]:
    """Gradients of adapters side by side over the same sequences, and their losses."""
    segments = [Segment(p * ROWS, (p + 1) * ROWS, adapter) for p, adapter in enumerate(adapters)]
    for adapter in adapters:
        adapter.zero_gradients()
    batch = pack_sequences(SEQUENCES * len(adapters), segments, base.device)
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        losses = [segment_losses(hidden.detach(), base.head, batch, s, gradient, 0.01) for s in segments]
        hidden.backward(gradient)
    for adapter in adapters:
        adapter.tie_gradients()
    return losses


def learn(base: Base, recipes: list[Recipe]) -> list[Adapter]:
    """Adapters trained side by side."""
    adapters = [base.new_adapter(recipe) for recipe in recipes]
    optimizers = [make_optimizer(recipe, adapter) for recipe, adapter in zip(recipes, adapters, strict=True)]
    for recipe, adapter in zip(recipes, adapters, strict=True):
        adapter.initialize(recipe.seed)
    for rate in RATES:
        one_step(base, adapters)
        for optimizer in optimizers:
            set_rate(optimizer, rate)
            optimizer.step()
    return adapters


def in_peft(folder: str, recipe: Recipe, start: Adapter) -> Any:
    """PEFT's model with our first A and B."""
    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        target_modules=recipe.target_modules,
        trainable_token_indices=recipe.trainable_token_indices,
        modules_to_save=recipe.modules_to_save,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(plain_model(folder), config)
    for name, (a, b) in start.matrices.items():
        module: Any = model.base_model.model.get_submodule(name)
        module.lora_A["default"].weight.data.copy_(a)
        module.lora_B["default"].weight.data.copy_(b)
    return model


def rows_of(model: Any, name: str) -> Any:
    module = model.base_model.model.get_submodule(name)
    if hasattr(module, "token_adapter"):
        return module.token_adapter.trainable_tokens_delta["default"]
    return module.modules_to_save["default"].weight


KINDS: dict[str, dict[str, Any]] = {
    "embeddings": {"trainable_token_indices": TOKENS},
    "both": {"trainable_token_indices": {"embed_tokens": TOKENS, "lm_head": TOKENS[2:]}},
    "copies": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "embeddings-copy": {"modules_to_save": ["embed_tokens"]},
    "head-copy": {"modules_to_save": ["lm_head"]},
}


def step_in_peft(model: Any) -> list[Any]:
    """Each sequence's losses at supervised positions; gradients are added to PEFT's parameters."""
    losses = []
    for ids, labels in SEQUENCES:
        logits = model(ids[None]).logits[0]
        losses.append(F.cross_entropy(logits, labels, reduction="none", ignore_index=-100)[labels >= 0])
    (0.01 * torch.cat(losses).sum()).backward()
    return losses


def fields(folder: str, **own: Any) -> dict[str, Any]:
    # most rows of a copied head have gradients near 1e-8, which the usual epsilon would blow up to a step
    common = {"base": folder, "lora_r": 6, "lora_alpha": 12, "lora_dropout": 0.0, "adam_epsilon": 1e-6}
    return {**common, **own}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_steps_and_files_are_pefts_beside_a_plain_run_and_alone(
    kind: str, ends_base: str, recipe: MakeRecipe, tmp_path: Path
) -> None:
    base = load_base(ends_base)
    own = KINDS[kind]
    if kind == "both" and base.tied:
        own = {"trainable_token_indices": {"embed_tokens": TOKENS, "lm_head": TOKENS}}
    plain, chosen = recipe(**fields(ends_base)), recipe(**fields(ends_base, **own))
    _, ours = learn(base, [plain, chosen])
    assert torch.equal(ours.parameters, learn(base, [chosen])[0].parameters)
    together = learn(base, [chosen, plain])[1]
    assert torch.equal(together.parameters, learn(base, [plain])[0].parameters)

    start = base.new_adapter(chosen)
    start.initialize(chosen.seed)
    theirs = in_peft(ends_base, chosen, start)
    trained = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.0, lr=1.0, eps=chosen.adam_epsilon)
    (losses,) = one_step(base, [start])
    ends = {start._row_names[end]: end for end in start._row_names}
    assert set(ends) <= {"model.embed_tokens", "lm_head"}
    for step, rate in enumerate(RATES):
        optimizer.zero_grad()
        expected = torch.cat(step_in_peft(theirs)).detach()
        if step == 0:
            torch.testing.assert_close(losses.loss, expected, atol=2e-6, rtol=1e-6)
            for name, end in ends.items():
                gradient = start.rows[end].grad
                torch.testing.assert_close(gradient, rows_of(theirs, name).grad, atol=1e-6, rtol=1e-5)
            for name in start.names:
                wanted = theirs.base_model.model.get_submodule(name).lora_B["default"].weight.grad
                torch.testing.assert_close(start.gradient_of(name)[1], wanted, atol=1e-6, rtol=1e-5)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    # of the 262,144 numbers of a copy, AdamW moves a few of tiny gradients a little apart
    tolerance = 1e-6 if chosen.modules_to_save is None else 3e-6
    for name, end in ends.items():
        torch.testing.assert_close(ours.rows[end].values, rows_of(theirs, name), atol=tolerance, rtol=0)

    ids = SEQUENCES[1][0]
    theirs.eval()
    with torch.no_grad():
        wanted = theirs(ids[None]).logits[0]
    ours.save(tmp_path / "ours", chosen)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    stored, own = (load_file(tmp_path / who / "adapter_model.safetensors") for who in ("theirs", "ours"))
    assert {key: value.shape for key, value in stored.items()} == {key: v.shape for key, v in own.items()}
    loaded = PeftModel.from_pretrained(plain_model(ends_base), str(tmp_path / "ours")).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids[None]).logits[0], wanted, atol=5e-6, rtol=0)
    read = base.new_adapter(recipe(**fields(ends_base) | read_peft_config(tmp_path / "theirs")))
    read.load(tmp_path / "theirs")
    assert all(torch.equal(read.rows[end].values, rows_of(theirs, name)) for name, end in ends.items())


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("forward", [True, False])
def test_soft_targets_reach_the_rows_and_the_hidden_states(
    forward: bool, copy: bool, loaded_base: Base, recipe: MakeRecipe
) -> None:
    tokens = {"trainable_token_indices": {"lm_head": TOKENS}}
    ours = loaded_base.new_adapter(recipe(**(KINDS["head-copy"] if copy else tokens)))
    generator = torch.Generator().manual_seed(4)
    ours.parameters.normal_(std=0.1, generator=generator)
    count, vocabulary = 200, loaded_base.head.shape[0]
    hidden, other = torch.randn(2, count, 64, generator=generator)
    labels = torch.randint(0, vocabulary, (count,), generator=generator)
    labels[::7] = TOKENS[0]
    piece = Segment(0, count, ours)
    batch = pack_sequences([(labels, labels)], [piece], loaded_base.device)
    positions = torch.arange(3, count, 2)
    soft = SoftTarget(
        name="kl",
        positions=positions,
        hidden=other[positions],
        head=loaded_base.head,
        weight=0.3,
        forward=forward,
        temperature=2.0,
    )
    gradient = torch.zeros_like(hidden)
    segment_losses(hidden, loaded_base.head, batch, piece, gradient, 0.7, [soft])
    leaf, rows = hidden.clone().requires_grad_(), ours.rows[HEAD].values.clone().requires_grad_()
    head = rows if copy else loaded_base.head.index_copy(0, torch.tensor(TOKENS), rows)
    logits = leaf @ head.t()
    mine = (logits[positions] / 2).log_softmax(-1)
    theirs = (other[positions] @ loaded_base.head.t() / 2).log_softmax(-1)
    first, second = (mine, theirs) if forward else (theirs, mine)
    divergence = F.kl_div(first, second, reduction="sum", log_target=True)
    (0.7 * F.cross_entropy(logits, labels, reduction="sum") + 0.3 * 4 * divergence).backward()
    torch.testing.assert_close(gradient, leaf.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.rows[HEAD].grad, rows.grad, atol=1e-3, rtol=1e-4)


def changed_adapter(base: Base, recipe: Recipe) -> Adapter:
    """An adapter whose matrices and rows are all far from where they began."""
    adapter = base.new_adapter(recipe)
    adapter.parameters.normal_(std=0.1, generator=torch.Generator().manual_seed(3))
    return adapter


@pytest.mark.parametrize("kind", ["rows", "copies"])
def test_answers_are_those_of_pefts_model_whoever_shares_the_batch_and_merged(
    kind: str, ends_base: str, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(ends_base)
    rows = {"trainable_token_indices": {"embed_tokens": TOKENS, "lm_head": TOKENS}}
    chosen = recipe(**fields(ends_base, **(rows if kind == "rows" else KINDS["copies"])))
    ours, plain = changed_adapter(base, chosen), changed_adapter(base, recipe(**fields(ends_base)))
    prompts = [ids[:length].tolist() for (ids, _), length in zip(SEQUENCES, (30, 12, 5), strict=True)]

    def answers(adapters: list[Adapter | None]) -> list[list[int]]:
        requests = [Request(p, adapter, Sampling(max_new_tokens=12)) for adapter in adapters for p in prompts]
        list(Generator(base, set()).run(requests))
        return [request.tokens for request in requests if request.adapter is ours]

    assert answers([plain, ours, None]) == answers([ours])
    ours.save(tmp_path / "run", chosen)
    theirs = PeftModel.from_pretrained(plain_model(ends_base), str(tmp_path / "run")).eval()
    for prompt, said in zip(prompts, answers([ours]), strict=True):
        with torch.no_grad():
            logits = theirs(torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == said

    served = load_adapters([tmp_path / "run"]).adapters["run"]
    assert served is not None
    assert torch.equal(served.parameters, ours.parameters)
    monkeypatch.setattr(merging, "_prompts", lambda _: [ids.tolist() for ids, _ in SEQUENCES])
    if kind == "copies" and base.tied:
        with pytest.raises(ModelError, match="one weight for embeddings and output projection"):
            merging.merge(tmp_path / "run", tmp_path / "merged", "float32")
        return
    result = merging.merge(tmp_path / "run", tmp_path / "merged", "float32")
    assert result.error <= result.tolerance
    with torch.no_grad():
        wanted = theirs(SEQUENCES[0][0][None]).logits
        found = plain_model(str(tmp_path / "merged"))(SEQUENCES[0][0][None]).logits
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"trainable_token_indices": [5, 9_999]}, "no token 9999; its vocabulary has 4,096 rows"),
        ({"trainable_token_indices": {"wte": [5]}}, "no embeddings or output projection 'wte'"),
        (
            {"trainable_token_indices": [5], "target_modules": ["lm_head", "q_proj"]},
            "take plain LoRA only, not trainable_token_indices",
        ),
        ({"modules_to_save": ["norm"]}, "modules_to_save: .* has no embeddings or output projection 'norm'"),
        (
            {"modules_to_save": ["lm_head"], "target_modules": ["lm_head"]},
            "take plain LoRA only, not modules_to_save",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(
    own: dict[str, Any], message: str, loaded_base: Base, recipe: MakeRecipe
) -> None:
    with pytest.raises(ModelError, match=message):
        loaded_base.new_adapter(recipe(**own))


def test_other_rows_for_tied_ends_are_refused(ends_base: str, recipe: MakeRecipe) -> None:
    base = load_base(ends_base)
    for tokens in ({"lm_head": [5]}, {"embed_tokens": [5], "lm_head": [6]}):
        chosen = recipe(base=ends_base, trainable_token_indices=tokens)
        if base.tied:
            with pytest.raises(ModelError, match=r"one weight .* give one list of tokens"):
                base.new_adapter(chosen)
        else:
            assert len(base.new_adapter(chosen).rows) == len(tokens)


@pytest.mark.parametrize("tokens", [[], {}, [3, 3], [-1], {"lm_head": []}])
def test_lists_that_make_no_sense_are_refused(tokens: Any, recipe: MakeRecipe) -> None:
    with pytest.raises(ConfigError, match="trainable_token_indices"):
        recipe(trainable_token_indices=tokens)


def test_single_rows_and_whole_copies_are_refused_together(recipe: MakeRecipe) -> None:
    for own in ({"trainable_token_indices": [3]}, {"new_tokens": ["<a>"]}):
        with pytest.raises(ConfigError, match="give one or the other"):
            recipe(modules_to_save=["lm_head"], **own)


@pytest.mark.parametrize("ends_base", ["tied"], indirect=True)
def test_runs_train_together_as_alone_whatever_shares_a_forward_and_start_from_one_another(
    ends_base: str, sums: str, tmp_path: Path
) -> None:
    common = {"base": ends_base, "data": sums, "max_length": 64, "max_steps": 3, "lr": 2e-3, "batch_size": 2}
    rows = {"trainable_token_indices": [7, 300, 22]}
    own: dict[str, dict[str, Any]] = {
        "plain": {},
        "rows": {**rows, "kl": {"coef": 0.1}, "gradient_checkpointing": True},
        "child": {**rows, "init_from": "rows"},
        "int8": {**rows, "optim": "adamw8bit"},
        "copies": {"modules_to_save": ["embed_tokens", "lm_head"], "kl": {"coef": 0.1}},
    }
    runs = [Run(name=name, recipe=make_recipe({**common, **given}, name)) for name, given in own.items()]
    train_study(Study(name="all", runs=runs), tmp_path / "all")
    for run in runs:
        if run.recipe.init_from is None:
            alone = TrainingOptions(token_budget=64)
            train_study(Study(name=run.name, runs=[run]), tmp_path / run.name, alone)
            assert adapter_bytes(tmp_path / "all" / run.name) == adapter_bytes(tmp_path / run.name / run.name)
    elsewhere = make_recipe({**common, "init_from": str(tmp_path / "all" / "rows")}, "other")
    with pytest.raises(TrainingError, match=r"trainable_token_indices is None here and \[7, 300, 22\] there"):
        train_study(Study(name="other", runs=[Run(name="other", recipe=elsewhere)]), tmp_path / "other")


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_rows_over_a_quantized_base_are_plain_rows(
    kind: Any, tiny_base: MakeBase, recipe: MakeRecipe
) -> None:
    base = load_base(tiny_base(), base_format=BaseFormat(kind))
    tokens = {"embed_tokens": TOKENS, "lm_head": TOKENS}
    ours = base.new_adapter(recipe(trainable_token_indices=tokens, quantize=kind))
    ours.initialize(0)
    one_step(base, [ours])
    assert all(bool(rows.grad.any()) for rows in ours.rows.values())
