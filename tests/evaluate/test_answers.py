"""An answer is taken from a file only if it is the answer to what is asked, by who is asked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import MakeRecipe, random_adapter
from paceline.data.chat import Chat, load_tokenizer
from paceline.errors import EvaluationError
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.answers import Prompt, answer_all, read_answers
from paceline.evaluate.generate import Sampling
from paceline.evaluate.mtbench.converse import converse
from paceline.evaluate.mtbench.questions import Question
from paceline.model.base import Base
from paceline.runs.evaluations import Answer, TurnAnswer
from paceline.runs.records import read_records

SAMPLING = Sampling(max_new_tokens=3)
PROMPTS = {"1": "What is 2 plus 2?", "2": "Why?"}


@pytest.fixture
def speakers(loaded_base: Base, recipe: MakeRecipe) -> AdapterSet:
    adapters = {name: random_adapter(loaded_base, recipe(), seed) for seed, name in enumerate("ab")}
    return AdapterSet(loaded_base, Chat(load_tokenizer("embedded")), {"base": None, **adapters})


class Asked:
    """Asks, and counts the answers that were not in the file."""

    def __init__(self, out: Path) -> None:
        self.out, self.new, self.lines = out, 0, list[str]()

    def __call__(
        self,
        speakers: AdapterSet,
        prompts: dict[str, str] = PROMPTS,
        sampling: Sampling = SAMPLING,
        **also: Any,
    ) -> list[Answer]:
        self.new, self.lines = 0, []

        def observe(done: int, total: int, tokens: int) -> None:
            self.new = done

        asked = [Prompt(name, [{"role": "user", "content": text}]) for name, text in prompts.items()]
        log = self.lines.append
        return answer_all(speakers, asked, self.out, sampling, observe=observe, log=log, **also)


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    return Asked(tmp_path / "g.jsonl")


def test_the_same_question_is_asked_once(speakers: AdapterSet, ask: Asked) -> None:
    first = ask(speakers)
    assert (len(first), ask.new) == (6, 6)
    content = ask.out.read_bytes()
    assert ask(speakers) == first
    assert (ask.new, ask.lines) == (0, [])
    assert ask.out.read_bytes() == content
    assert len(ask(speakers, samples=2)) == 12
    assert ask.new == 6, "the first sample of each is there"


def other_adapter(speakers: AdapterSet) -> AdapterSet:
    adapter = speakers.adapters["a"]
    assert adapter is not None
    adapter.parameters[0] += 1e-3
    return speakers


def other_template(speakers: AdapterSet) -> AdapterSet:
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = "{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}" + str(
        tokenizer.chat_template
    )
    return replace(speakers, chat=Chat(tokenizer))


CHANGES: dict[str, tuple[Any, int]] = {
    "prompt": (lambda s: (s, {"prompts": {**PROMPTS, "2": "Why not?"}}), 3),
    "temperature": (lambda s: (s, {"sampling": replace(SAMPLING, temperature=0.7)}), 6),
    "top_p": (lambda s: (s, {"sampling": replace(SAMPLING, top_p=0.5)}), 6),
    "max_new_tokens": (lambda s: (s, {"sampling": replace(SAMPLING, max_new_tokens=5)}), 6),
    "seed": (lambda s: (s, {"sampling": replace(SAMPLING, seed=4)}), 6),
    "thinking": (lambda s: (s, {"thinking": True}), 6),
    "adapter": (lambda s: (other_adapter(s), {}), 2),
    "template": (lambda s: (other_template(s), {}), 6),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_is_asked_otherwise_is_answered_anew(
    change: str, speakers: AdapterSet, ask: Asked, tmp_path: Path
) -> None:
    ask(speakers)
    apply, count = CHANGES[change]
    changed, arguments = apply(speakers)
    if change == "thinking" and "enable_thinking" not in str(speakers.chat.tokenizer.chat_template):
        count = 0  # the prompt is the same then
    again = ask(changed, **arguments)
    assert ask.new == count
    said = f"{count} of its 6 answers were to other prompts or settings, or by other weights"
    assert [said in line for line in ask.lines] == [True] * bool(count)
    assert again == Asked(tmp_path / "fresh.jsonl")(changed, **arguments)
    assert sorted(read_records(ask.out, Answer), key=str) == sorted(again, key=str), "and the old are gone"


def test_a_changed_base_answers_anew(
    speakers: AdapterSet, ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paceline.model.digest import base_digest

    ask(speakers)
    other = replace(base_digest(speakers.base.name), weights="another")
    monkeypatch.setattr("paceline.evaluate.adapters.base_digest", lambda name: other)
    ask(speakers)
    assert ask.new == 6


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(st.dictionaries(st.sampled_from("123"), st.sampled_from("xyz"), min_size=1), max_size=4)
)
def test_any_row_of_questions_gives_what_a_fresh_file_gives(
    rounds: list[dict[str, str]], speakers: AdapterSet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rounds")
    only = replace(speakers, adapters={"a": speakers.adapters["a"]})
    ask = Asked(folder / "kept.jsonl")
    for number, prompts in enumerate(rounds):
        assert ask(only, prompts) == Asked(folder / f"{number}.jsonl")(only, prompts)


def test_others_lines_in_the_file_stay(speakers: AdapterSet, ask: Asked) -> None:
    ask(replace(speakers, adapters={"a": speakers.adapters["a"]}))
    ask(replace(speakers, adapters={"b": speakers.adapters["b"]}), {"1": "Another one?"})
    assert ask.lines == []
    assert {answer.run for answer in read_records(ask.out, Answer)} == {"a", "b"}


@pytest.mark.parametrize(
    "content",
    [
        b"My thesis.\n",
        b"My thesis, without an end of line",
        b'{"prompt": "x"}\n',
        b'{"prompt": "x"}',
        b'[{"run": "a"}]',
        b"\xff\xfe\x00",
        b'{"run":"a","id":"1","turn":0,"question":"q","answer":"x","tokens":1,"finish":"stop"}\n',
    ],
)
def test_a_file_of_something_else_is_refused_and_stays(
    content: bytes, speakers: AdapterSet, ask: Asked
) -> None:
    ask.out.write_bytes(content)
    with pytest.raises(EvaluationError, match="holds something else than answers; choose another file"):
        ask(speakers)
    assert ask.out.read_bytes() == content


def test_a_folder_is_no_file_of_answers(speakers: AdapterSet, ask: Asked) -> None:
    ask.out.mkdir()
    with pytest.raises(EvaluationError, match="holds something else"):
        ask(speakers)


@pytest.mark.parametrize("torn", [b'{"run":"b","id":"1","sam', b'{"ru', b'{"run":"b"'])
def test_a_torn_line_of_ours_is_cut_off(torn: bytes, speakers: AdapterSet, ask: Asked) -> None:
    ask.out.write_bytes(torn)
    first = ask(speakers)
    whole = ask.out.read_bytes()
    ask.out.write_bytes(whole + torn)
    assert ask(speakers) == first
    assert ask.out.read_bytes() == whole
    assert read_answers(ask.out, Answer) == read_records(ask.out, Answer)


def test_answers_of_a_version_that_kept_no_digest_are_asked_again(speakers: AdapterSet, ask: Asked) -> None:
    ask(speakers)
    old = [json.loads(line) for line in ask.out.read_text().splitlines()]
    ask.out.write_text("".join(json.dumps({**line, "asked": ""}) + "\n" for line in old))
    ask(speakers)
    assert ask.new == 6


QUESTIONS = [Question(id="q", category="coding", turns=("What is a slice?", "And a vector?"))]


@pytest.mark.parametrize(
    ("turns", "sampling", "kept"),
    [
        (["What is a slice?", "And a vector?"], SAMPLING, 6),
        (["What is a slice?", "And an array?"], SAMPLING, 3),
        (["What is a string?", "And a vector?"], SAMPLING, 0),
        (["What is a slice?", "And a vector?"], replace(SAMPLING, max_new_tokens=2), 0),
    ],
)
def test_turns_are_taken_up_as_far_as_the_conversation_is_the_same(
    turns: list[str], sampling: Sampling, kept: int, speakers: AdapterSet, tmp_path: Path
) -> None:
    out, lines = tmp_path / "answers.jsonl", list[str]()
    converse(speakers, QUESTIONS, out, SAMPLING, False)
    asked = [Question(id="q", category="coding", turns=tuple(turns))]
    done: list[int] = [0]
    again = converse(
        speakers, asked, out, sampling, False, lambda new, total, tokens: done.append(new), lines.append
    )
    assert done[-1] == 6 - kept
    assert bool(lines) == (kept < 6)
    assert again == converse(speakers, asked, tmp_path / "fresh.jsonl", sampling, False)
    assert len(read_records(out, TurnAnswer)) == 6
