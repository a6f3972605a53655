"""Judges by name, and those that cannot be asked."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from paceline.config.evaluation import MTBench
from paceline.errors import PacelineError
from paceline.evaluate.mtbench.judges.judge import JUDGES, open_judge
from paceline.evaluate.mtbench.judges.simple import SimpleJudge


@pytest.mark.parametrize(
    ("kind", "model", "said"),
    [("reward", None, "needs judge_model"), ("reward", "/nowhere", "cannot be loaded")],
)
def test_judges_that_are_none(adapter_set: Any, tmp_path: Path, kind: Any, model: Any, said: Any) -> None:
    with pytest.raises(PacelineError) as caught:
        open_judge(MTBench(judge=kind, judge_model=model), adapter_set, tmp_path)
    assert said in str(caught.value)


class PanelJudge(SimpleJudge):
    """A judge that another package brings."""


def test_another_package_s_judge_is_found_by_its_name(
    adapter_set: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("panel", f"{__name__}:PanelJudge", "paceline.judges")
    monkeypatch.setattr("paceline.evaluate.registry.entry_points", lambda group: [entry])
    assert JUDGES.names() == ["openai", "local", "reward", "simple", "panel"]
    assert type(open_judge(MTBench(judge="panel"), adapter_set, tmp_path)).__name__ == "PanelJudge"
