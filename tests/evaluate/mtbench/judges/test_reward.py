"""A reward model as the judge."""

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import MakeBase
from judge_server import CASES
from paceline.config.evaluation import MTBench
from paceline.evaluate.mtbench.judges.judge import open_judge
from paceline.evaluate.mtbench.judges.reward import squash


@pytest.mark.parametrize(
    ("raw", "score"),
    [(-5, 1), (-10, 1), (-2.5, 3.25), (0, 1), (0.5, 5.5), (1, 10), (2, 4.6), (5, 10), (9, 10)],
)
def test_reward_scores_are_squashed_as_the_script_does(raw: Any, score: Any) -> None:
    assert squash(raw) == pytest.approx(score)


def test_a_reward_model_reports_raw_and_squashed(
    adapter_set: Any, tiny_base: MakeBase, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    from paceline.data.chat import load_tokenizer

    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(tiny_base("qwen3"), num_labels=1).save_pretrained(
        tmp_path
    )
    load_tokenizer("embedded").save_pretrained(tmp_path)
    judge = open_judge(MTBench(judge="reward", judge_model=str(tmp_path)), adapter_set, tmp_path / "cache")
    grades = judge.grade(CASES[:3], lambda: None)
    assert all(g.raw is not None and g.rating == squash(g.raw) for g in grades)
    assert len({g.raw for g in grades}) == 3
