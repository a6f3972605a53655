"""Generation: transformers' own greedy answers, whatever shares the batch; seeded draws; a file that resumes line by line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from helpers import MakeBase, MakeRecipe, MakeStudy
from paceline.errors import EvaluationError, PacelineError
from paceline.evaluate.adapters import load_adapters, sequences_to_repeat
from paceline.evaluate.answers import Prompt, answer_all, read_prompts, stream
from paceline.evaluate.generate import Request, Sampling
from paceline.model.base import load_base
from paceline.training.study import train_study

QUESTIONS = [
    "What is 2 plus 2?",
    "Write a function that adds two numbers.",
    "Why?",
    "Say something long about rivers, please. " * 6,
    "x",
]


@pytest.fixture(scope="module")
def trained(tiny_base: MakeBase, sums: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two runs over one tiny base that say different things."""
    from paceline.config.load import make_recipe
    from paceline.config.study import Run, Study

    folder = tmp_path_factory.mktemp("trained")
    common = {
        "base": tiny_base("qwen3"),
        "data": sums,
        "max_length": 256,
        "lr": 5e-3,
        "max_steps": 12,
        "batch_size": 4,
        "grad_accum": 1,
    }
    runs = [
        Run(name="a", recipe=make_recipe({**common, "lora_r": 4}, "a")),
        Run(name="b", recipe=make_recipe({**common, "seed": 3}, "b")),
    ]
    train_study(Study(name="trained", runs=runs), folder)
    return folder


def answers(
    folder: Any, names: Any, questions: Any, out: Any, with_base: Any = False, **sampling: Any
) -> Any:
    adapter_set = load_adapters([folder / name for name in names], with_base)
    prompts = [Prompt(str(i), [{"role": "user", "content": text}]) for i, text in enumerate(questions)]
    lines = answer_all(adapter_set, prompts, out, Sampling(**{"max_new_tokens": 24, **sampling}))
    return {(line.run, QUESTIONS.index(questions[int(line.id)])): line.answer for line in lines}


@pytest.mark.parametrize(
    ("architecture", "form", "alone"),
    [
        ("qwen3", {}, False),
        ("qwen3", {"dtype": "bfloat16"}, True),
        ("qwen3", {"quantize": "int8"}, True),
        ("mixtral", {}, True),
    ],
)
def test_answers_go_one_by_one_where_neighbours_could_change_them(
    architecture: str,
    form: dict[str, str],
    alone: bool,
    tiny_base: MakeBase,
    sums: str,
    recipe: MakeRecipe,
    study: MakeStudy,
    tmp_path: Path,
) -> None:
    fields = {"base": tiny_base(architecture), "data": {"source": sums}, "target_modules": ["q_proj"], **form}
    train_study(study(r=recipe(**fields, max_steps=1, max_length=128)), tmp_path)
    loaded = load_adapters([tmp_path / "r"], batch_invariant=True)
    assert loaded.sequences == (1 if alone else None)
    assert sequences_to_repeat(loaded.base) == (1 if alone else None)
    assert load_adapters([tmp_path / "r"]).sequences is None


def test_greedy_answers_are_transformers_own(trained: Any, tmp_path: Path) -> None:
    adapter_set = load_adapters([trained / "a"])
    found = answers(trained, ["a"], QUESTIONS, tmp_path / "out.jsonl")
    recipe_base = load_base(adapter_set.base.name).name
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(recipe_base, dtype=torch.float32), str(trained / "a" / "adapter")
    ).eval()
    for place, question in enumerate(QUESTIONS):
        ids = torch.tensor([adapter_set.prompt([{"role": "user", "content": question}], False)])
        with torch.no_grad():
            out = model.generate(
                ids,
                max_new_tokens=24,
                do_sample=False,
                eos_token_id=sorted(adapter_set.stop_tokens()),
                pad_token_id=0,
            )
        said = [token for token in out[0, ids.shape[1] :].tolist() if token not in adapter_set.stop_tokens()]
        assert found["a", place] == adapter_set.text(said)


def test_an_answer_does_not_depend_on_what_shares_its_batch(trained: Any, tmp_path: Path) -> None:
    together = answers(trained, ["a", "b"], QUESTIONS, tmp_path / "all.jsonl", with_base=True)
    for run in ("a", "b"):
        for place, question in enumerate(QUESTIONS):
            alone = answers(trained, [run], [question], tmp_path / f"{run}{place}.jsonl")
            assert together[run, place] == alone[run, place]
    assert len({together[run, 0] for run in ("a", "b", "base")}) > 1


@pytest.mark.slow
def test_logits_have_the_same_bits_alone_and_together(trained: Any) -> None:
    adapter_set = load_adapters([trained / "a", trained / "b"])
    seen = {}

    def watch(generator: Any) -> Any:
        plain = generator._logits

        def logits(rows: Any, requests: Any) -> Any:
            out = plain(rows, requests)
            moved = sorted(
                generator._active, key=lambda r: list(adapter_set.adapters.values()).index(r.adapter)
            )
            for request, row in zip(moved, out, strict=True):
                seen.setdefault((request.key, len(request.tokens)), []).append(row)
            return out

        generator._logits = logits
        return generator

    def request(name: Any, text: Any) -> Any:
        return Request(
            adapter_set.prompt([{"role": "user", "content": text}], True),
            adapter_set.adapters[name],
            Sampling(max_new_tokens=70),
            (name, text),
        )

    list(watch(adapter_set.generator()).run([request(name, text) for name in "ab" for text in QUESTIONS]))
    for name in "ab":
        for text in QUESTIONS:
            list(watch(adapter_set.generator()).run([request(name, text)]))
    assert all(len(rows) == 2 and torch.equal(*rows) for rows in seen.values())


def test_draws_follow_the_seed_and_the_prompt(trained: Any, tmp_path: Path) -> None:
    first = answers(trained, ["a"], QUESTIONS, tmp_path / "1.jsonl", temperature=1.5, seed=1)
    again = answers(trained, ["a"], QUESTIONS[:2], tmp_path / "2.jsonl", temperature=1.5, seed=1)
    other = answers(trained, ["a"], QUESTIONS, tmp_path / "3.jsonl", temperature=1.5, seed=2)
    assert all(first[key] == again[key] for key in again)
    assert first != other


def test_out_of_memory_halves_what_is_answered_at_once(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for two sequences: all answers come, greedy and drawn, as if there were enough."""
    adapter_set = load_adapters([trained / "a"])
    real, rows = type(adapter_set.base).hidden, []

    def hidden(self: Any, batch: Any) -> Any:
        sequences = len(batch.lengths) - (
            len(batch.segments) and batch.segments[-1].stop < sum(batch.lengths)
        )
        rows.append(sequences)
        if sequences > 2:
            raise torch.OutOfMemoryError("no more")
        return real(self, batch)

    for temperature in (0.0, 1.0):
        wanted = answers(
            trained, ["a"], QUESTIONS, tmp_path / f"{temperature}.jsonl", temperature=temperature
        )
        with monkeypatch.context() as patch:
            patch.setattr(type(adapter_set.base), "hidden", hidden)
            out = tmp_path / f"{temperature}-short.jsonl"
            assert answers(trained, ["a"], QUESTIONS, out, temperature=temperature) == wanted
        failed = rows.index(len(QUESTIONS))  # after the two of the base's probe
        assert set(rows[failed + 1 :]) <= {1, 2}
        rows.clear()


def test_out_of_memory_with_one_answer_is_said(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter_set = load_adapters([trained / "a"])

    def hidden(self: Any, batch: Any) -> Any:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(type(adapter_set.base), "hidden", hidden)
    with pytest.raises(EvaluationError, match="a single conversation of 5 tokens; lower max_new_tokens"):
        list(adapter_set.generator().run([Request([5] * 5, None, Sampling())]))


def test_requests_wait_where_memory_would_not_do(trained: Any) -> None:
    """Room for two sequences to their ends: never more at once, and nothing is held afterwards."""
    adapter_set = load_adapters([trained / "a"])
    requests = [Request([5 + i] * 20, None, Sampling(max_new_tokens=12), (i,)) for i in range(5)]
    generator, at_once = adapter_set.generator(), []
    generator.add(requests[:1])
    generator.step()
    generator.step()
    generator._memory = 2 * requests[0].longest() * generator._pool.token_bytes
    generator.add(requests[1:])
    while generator.busy:
        at_once.append(len(generator.step()))
    assert max(at_once) == 2
    assert all(request.finish for request in requests)
    assert generator._pool.nbytes == 0


def test_a_requests_rules_change_its_own_row(trained: Any) -> None:
    class Always:
        def __init__(self) -> None:
            self.taken: list[int] = []

        def change(self, logits: torch.Tensor) -> torch.Tensor:
            return torch.full_like(logits, -torch.inf).index_fill_(0, torch.tensor([7]), 0.0)

        def take(self, token: int) -> None:
            self.taken.append(token)

    adapter_set, rules = load_adapters([trained / "a"]), Always()
    plain, ruled = (Request([9] * 8, None, Sampling(max_new_tokens=3), rules=r) for r in (None, rules))
    list(adapter_set.generator().run([plain, ruled]))
    assert ruled.tokens == rules.taken == [7, 7, 7]
    alone = Request([9] * 8, None, Sampling(max_new_tokens=3))
    list(adapter_set.generator().run([alone]))
    assert plain.tokens == alone.tokens


def test_a_broken_file_goes_on_where_it_stopped(trained: Any, tmp_path: Path) -> None:
    whole = answers(trained, ["a", "b"], QUESTIONS, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "torn.jsonl").write_text("".join(lines[:4]) + lines[5][:20])
    assert answers(trained, ["a", "b"], QUESTIONS, tmp_path / "torn.jsonl") == whole
    assert len((tmp_path / "torn.jsonl").read_text().splitlines()) == len(lines)


def test_a_study_stands_for_its_runs_and_a_copied_adapter_for_itself(trained: Any, tmp_path: Path) -> None:
    shutil.copytree(trained / "a" / "adapter", tmp_path / "copied")
    assert list(load_adapters([trained]).adapters) == ["a", "b"]
    assert list(load_adapters([tmp_path / "copied"], True).adapters) == ["base", "copied"]


def test_streaming_gives_the_whole_answer(trained: Any, tmp_path: Path) -> None:
    adapter_set = load_adapters([trained / "a"])
    pieces = list(
        stream(
            adapter_set, "a", [{"role": "user", "content": QUESTIONS[0]}], Sampling(max_new_tokens=24), False
        )
    )
    assert "".join(pieces) == answers(trained, ["a"], QUESTIONS[:1], tmp_path / "o.jsonl")["a", 0]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{"], "line 1: broken JSON"),
        (['{"prompt": "x"}', '{"text": "x"}'], "line 2: neither `prompt` (text) nor `messages`"),
        (['{"prompt": "x", "id": "a"}', '{"prompt": "y", "id": "a"}'], "id 'a' is used twice"),
        (["[1]"], "line 1: expected an object"),
    ],
)
def test_prompts_that_are_none(lines: Any, said: Any, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    with pytest.raises(PacelineError) as caught:
        read_prompts(tmp_path / "p.jsonl")
    assert said in str(caught.value)


def test_training_rows_are_asked_for_their_answer(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    (tmp_path / "p.jsonl").write_text(json.dumps(row))
    assert read_prompts(tmp_path / "p.jsonl")[0].messages == row["messages"][:1]


def test_no_adapter_there(tmp_path: Path) -> None:
    with pytest.raises(PacelineError, match="no adapter there; expected a finished run"):
        load_adapters([tmp_path])


def test_a_sliding_window_is_kept_while_generating(tmp_path: Path) -> None:
    """Mistral with a window of 24 positions: transformers' own greedy answers, over prompts shorter and longer than it."""
    from transformers import MistralConfig

    from paceline.data.chat import Chat, load_tokenizer
    from paceline.evaluate.adapters import AdapterSet

    tokenizer = load_tokenizer("embedded")
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        sliding_window=24, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base = load_base(str(tmp_path / "base"))
    adapter_set = AdapterSet(base, Chat(tokenizer), {"base": None})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32).eval()
    requests = [
        Request(
            adapter_set.prompt([{"role": "user", "content": q}], True),
            None,
            Sampling(max_new_tokens=70),
            (q,),
        )
        for q in QUESTIONS
    ]
    list(adapter_set.generator().run(requests))
    for request in requests:
        with torch.no_grad():
            ids = torch.tensor([request.prompt])
            out = model.generate(
                ids,
                max_new_tokens=70,
                do_sample=False,
                eos_token_id=sorted(adapter_set.stop_tokens()),
                pad_token_id=0,
            )
        assert [
            token
            for token in out[0, len(request.prompt) :].tolist()
            if token not in adapter_set.stop_tokens()
        ] == request.tokens
