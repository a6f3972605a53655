"""Tokens that a run adds to its base: one id each, rows that begin as a mean, and PEFT's files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import MakeBase, MakeRecipe, MakeStudy, StopWhen, adapter_bytes, plain_model
from paceline.data.chat import load_tokenizer
from paceline.errors import ConfigError, DataError, ModelError, TrainingError
from paceline.evaluate.adapters import load_adapters
from paceline.evaluate.generate import Request, Sampling
from paceline.export import merge as merging
from paceline.export.push import stage
from paceline.model.base import load_base
from paceline.model.quantization import BaseFormat
from paceline.runs.events import EvalEvent, StartEvent, of_kind, read_events
from paceline.training.start import find_parent
from paceline.training.study import TrainingOptions, train_study

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")

NEW = ["<up>", "<down>"]


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows whose answers are new tokens, and one that none has."""
    path = tmp_path_factory.mktemp("moves") / "moves.jsonl"
    rows = [{"prompt": f"Where to, {i}?", "completion": NEW[i % 2] * (1 + i % 3)} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("ends_base", ["untied", "tied"], indirect=True)
def test_new_tokens_are_learned_saved_served_and_merged(
    ends_base: str,
    moves: str,
    recipe: MakeRecipe,
    study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    common = {"base": ends_base, "data": moves, "max_length": 64, "max_steps": 4, "lr": 1e-2, "eval_steps": 2}
    runs = study(
        plain=recipe(**common),
        new=recipe(**common, new_tokens=NEW, trainable_token_indices=[7]),
        child=recipe(**common, new_tokens=NEW, trainable_token_indices=[7], init_from="new"),
    )
    train_study(runs, tmp_path / "whole")
    stop = StopWhen(lambda cohort: cohort.runs[0].step >= 2)
    alone = study(new=runs.runs[1].recipe)
    train_study(alone, tmp_path / "stopped", TrainingOptions(callbacks=[stop], token_budget=64))
    train_study(alone, tmp_path / "stopped")
    run = tmp_path / "whole" / "new"
    assert adapter_bytes(run) == adapter_bytes(tmp_path / "stopped" / "new")
    (begun,) = of_kind(read_events(run / "events.jsonl"), StartEvent)
    assert begun.notes == ["tokens with trained rows that no training example has (1): '('"]
    losses = [event.loss for event in of_kind(read_events(run / "events.jsonl"), EvalEvent)]
    assert losses[-1] < losses[0]

    tokenizer = AutoTokenizer.from_pretrained(run / "adapter")
    ids = tokenizer("<up>", add_special_tokens=False)["input_ids"]
    assert ids == [4096]
    speakers = load_adapters([run], with_base=True)
    assert (speakers.base.new_ids, speakers.base.head.shape[0]) == ((4096, 4097), 4098)
    prompt = speakers.prompt([{"role": "user", "content": "Go <down> and"}], thinking=False)
    assert 4097 in prompt
    request = Request(prompt, speakers.adapters["new"], Sampling(max_new_tokens=8))
    list(speakers.generator().run([request]))

    theirs = AutoPeftModelForCausalLM.from_pretrained(str(run / "adapter")).eval()  # as the card says
    with torch.no_grad():
        logits = theirs(torch.tensor([prompt + request.tokens])).logits[0]
    said = logits[len(prompt) - 1 :].argmax(-1).tolist()
    assert said[: len(request.tokens)] == request.tokens
    assert "<" in speakers.text([4096])

    monkeypatch.setattr(merging, "_prompts", lambda _: [prompt])
    result = merging.merge(run, tmp_path / "merged", "float32")
    assert result.error <= result.tolerance
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.no_grad():
        found = merged(torch.tensor([prompt + request.tokens])).logits[0]
    torch.testing.assert_close(found, logits, atol=2e-5, rtol=0)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").convert_tokens_to_ids("<down>") == 4097

    stage(run, "someone/new", tmp_path / "staged")
    assert AutoTokenizer.from_pretrained(tmp_path / "staged").convert_tokens_to_ids("<down>") == 4097
    with pytest.raises(ModelError, match="in different forms"):
        load_adapters([run, tmp_path / "whole" / "plain"])
    with pytest.raises(ModelError, match="has no token 4096; tokens that it lacks are added with new_tokens"):
        load_adapters([run / "adapter"])


def test_rows_of_new_tokens_begin_as_the_mean_in_spare_rows_or_beyond(
    tiny_base: MakeBase, recipe: MakeRecipe
) -> None:
    plain, folder = plain_model(tiny_base()), tiny_base()
    weights = [plain.get_input_embeddings().weight, plain.get_output_embeddings().weight]
    for kind in ("none", "nf4"):
        base = load_base(folder, base_format=BaseFormat(kind, new_tokens=tuple(NEW)))
        adapter = base.new_adapter(recipe(new_tokens=NEW, quantize=kind))
        adapter.initialize(3)
        for rows, weight in zip(sorted(adapter.rows.items(), reverse=True), weights, strict=True):
            expected = weight.double().mean(0).float()
            torch.testing.assert_close(rows[1].values, expected.expand(2, -1))
    assert torch.equal(
        base.head, load_base(folder, base_format=BaseFormat("nf4", new_tokens=tuple(NEW))).head
    )


def test_spare_rows_are_used(tmp_path: Path, tiny_base: MakeBase) -> None:
    plain = plain_model(tiny_base())
    plain.resize_token_embeddings(4160, mean_resizing=False)
    plain.save_pretrained(tmp_path)
    load_tokenizer(tiny_base()).save_pretrained(tmp_path)
    base = load_base(str(tmp_path), base_format=BaseFormat(new_tokens=tuple(NEW)))
    assert base.head.shape[0] == 4160
    expected = plain.get_output_embeddings().weight[:4096].double().mean(0).float()
    torch.testing.assert_close(base.head[4097], expected)


def test_a_token_that_is_there_is_refused(recipe: MakeRecipe) -> None:
    with pytest.raises(DataError, match=r"'the' is token \d+ of .* already; train its row"):
        load_tokenizer("embedded", ["<new>", "the"])
    for tokens, message in (([" a"], "space at an end"), (["a", "a"], "twice"), ([""], "empty")):
        with pytest.raises(ConfigError, match=message):
            recipe(new_tokens=tokens)
    with pytest.raises(ConfigError, match="the teacher has no such tokens"):
        recipe(new_tokens=NEW, distill={"teacher": "t"})


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"init_from": "first"}, "new_tokens is .* here and .* there"),
        ({"init_from": "elsewhere"}, "with new_tokens a run starts from a run of its study"),
    ],
)
def test_a_run_starts_from_one_with_the_same_tokens(
    own: dict[str, Any], message: str, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "adapter_model.safetensors").touch()
    runs = study(first=recipe(), second=recipe(new_tokens=NEW, **own))
    with pytest.raises(TrainingError, match=message):
        find_parent(runs.runs[1], runs, tmp_path)
