"""Mixtures: exact counts by the seed, or a refusal that says why."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.config.data import Data
from paceline.config.load import make_recipe
from paceline.data.chat import load_chat
from paceline.data.mixture import choose_rows
from paceline.data.tokens import load_tokens
from paceline.errors import PacelineError


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """300 general and 100 reasoning rows in T-Wix's schema."""
    path = tmp_path_factory.mktemp("mixture") / "rows.jsonl"
    with path.open("w") as file:
        for i in range(400):
            turns = [
                {"role": "user", "content": f"вопрос {i}"},
                {"role": "assistant", "content": f"ответ {i}"},
            ]
            file.write(
                json.dumps({"messages": turns, "subset": "reasoning" if i % 4 == 0 else "general"}) + "\n"
            )
    return str(path)


def counts(**fields: Any) -> Any:
    return {part.origin.label: len(part.picked) for part in choose_rows(Data(**fields))}


def test_the_shorthand_counts_as_the_original_script_did(dialogues: Any) -> None:
    assert counts(source=dialogues, subset="both", mix_reasoning_ratio=0.2, sample_ratio=0.25) == {
        "general": 80,
        "reasoning": 20,
    }
    assert counts(source=dialogues, subset="general", sample_ratio=0.25) == {"general": 75}
    assert counts(source=dialogues, subset="both", sample_ratio=0.5) == {dialogues: 200}


@pytest.mark.parametrize("ratio", [0.29, 0.57, 0.58])
def test_a_share_is_counted_as_it_is_written(ratio: float, tmp_path: Path) -> None:
    """100 * 0.29 is 28.999999999999996 in floating point."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"text": "row {i}"}}\n' for i in range(100)))
    assert len(choose_rows(Data(source=str(path), sample_ratio=ratio))[0].picked) == round(100 * ratio)


def test_fewer_reasoning_rows_than_asked_are_all_taken_and_told(dialogues: Any) -> None:
    parts = choose_rows(Data(source=dialogues, subset="both", mix_reasoning_ratio=0.5, n=300))
    assert [(len(part.picked), part.asked) for part in parts] == [(200, None), (100, 150)]
    parts = choose_rows(Data(source=dialogues, subset="both", mix_reasoning_ratio=0.5, n=600))
    assert [(len(part.picked), part.asked) for part in parts] == [(300, None), (100, 300)]
    mixed = Data(source=dialogues, subset="both", mix_reasoning_ratio=0.5, n=300)
    assert load_tokens(mixed, load_chat("embedded")).notes[0] == (
        "reasoning: all 100 rows there are, 150 were asked for"
    )


def test_without_a_total_as_many_rows_as_the_ratios_allow(dialogues: Any) -> None:
    assert counts(source=dialogues, subset="both", mix_reasoning_ratio=0.5) == {
        "general": 100,
        "reasoning": 100,
    }


@settings(deadline=None)  # reads from the disk
@given(st.integers(10, 200), st.floats(0.05, 0.45))
def test_parts_sum_to_the_total_and_keep_their_ratio(dialogues: Any, n: Any, share: Any) -> None:
    given = (
        counts(source=dialogues, subset="both", mix_reasoning_ratio=share, n=n)
        if int(n * share)
        else {"general": n, "reasoning": 0}
    )
    assert sum(given.values()) == n
    assert abs(given["reasoning"] - n * share) <= 1


def test_a_sample_is_the_beginning_of_a_larger_one_whatever_else_is_in_the_mixture(dialogues: Any) -> None:
    small = choose_rows(Data(source=dialogues, subset="general", n=50))[0].picked.tolist()
    mixed = choose_rows(Data(source=dialogues, subset="both", mix_reasoning_ratio=0.2, n=200))[
        0
    ].picked.tolist()
    assert mixed[:50] == small


def test_several_sources(dialogues: Any, sums: str) -> None:
    mix = (
        {"ratio": 0.75, "subset": "general"},
        {"ratio": 0.25, "source": sums, "format": "prompt-completion"},
    )
    assert counts(source=dialogues, mix=mix, n=100) == {"general": 75, sums: 25}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {
                "mix": ({"subset": "general", "ratio": 0.5}, {"subset": "reasoning", "ratio": 0.5}),
                "n": 300,
            },
            r"reasoning should give 150 rows \(50% of 300\), it has 100",
        ),
        ({"subset": "reasonin"}, "no subset 'reasonin', did you mean 'reasoning'"),
    ],
)
def test_what_cannot_be_met_is_refused(dialogues: Any, fields: Any, message: Any) -> None:
    with pytest.raises(PacelineError, match=message):
        choose_rows(Data(source=dialogues, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mix": [{"ratio": 0.5}, {"ratio": 0.6}]}, "sum to 1.1"),
        ({"mix_reasoning_ratio": 0.2}, "needs subset: both"),
        ({"n": 5, "sample_ratio": 0.5}, "give one of them"),
    ],
)
def test_contradictions_are_refused(fields: Any, message: Any) -> None:
    with pytest.raises(PacelineError, match=message):
        make_recipe({"base": "b", "data": {"source": "s", **fields}}, "test")
