"""A local model as the judge."""

from pathlib import Path
from typing import Any

import pytest

from helpers import MakeBase
from judge_server import CASES
from paceline.config.evaluation import MTBench
from paceline.evaluate.mtbench.judges.judge import open_judge
from paceline.evaluate.mtbench.judges.local import LocalJudge
from paceline.evaluate.mtbench.protocol import read_rating


@pytest.mark.slow
def test_a_local_judge_is_asked_greedily(adapter_set: Any, tiny_base: MakeBase, tmp_path: Path) -> None:
    judge = open_judge(MTBench(judge="local", judge_model=tiny_base("qwen3")), adapter_set, tmp_path)
    again = open_judge(MTBench(judge="local", judge_model=tiny_base("qwen3")), adapter_set, tmp_path)
    assert isinstance(judge, LocalJudge)
    assert isinstance(again, LocalJudge)
    assert again.adapter_set is judge.adapter_set, "runs that train together hold one judge"
    grades = judge.grade(CASES[:2], lambda: None)
    assert [g.rating for g in grades] == [read_rating(g.reply) for g in grades]
