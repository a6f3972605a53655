"""What the checks before training find in a recipe."""

from typing import Any

import pytest
from checked_recipe import COMMON

from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.doctor import check as check_module
from paceline.doctor.check import check_study
from paceline.doctor.finding import Rules


@pytest.fixture
def no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate of memory has tests of its own; elsewhere it would only cost time."""
    monkeypatch.setattr(check_module, "estimate_cohort", lambda *_: None)
    monkeypatch.setattr(check_module, "cohort_rules", Rules([], "no_such_group"))


@pytest.fixture(scope="module")
def findings_on(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Fields of a recipe -> the findings on it, by rule."""

    def check(**fields: Any) -> Any:
        recipe = make_recipe({**COMMON, **fields}, "case")
        study = Study(name="case", runs=[Run(name="case", recipe=recipe)])
        return {finding.rule: finding for finding in check_study(study, tmp_path_factory.getbasetemp())}

    return check
