"""The check looks at one replicate of a recipe, and at all that are trained on other rows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from helpers import MakeRecipe
from paceline.config.replicates import Seeds, replicates
from paceline.config.study import Run
from paceline.doctor import check as check_module
from paceline.training.prepare import Prepared


def test_a_finding_is_not_repeated_for_each_replicate(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []

    class Builder:
        def __init__(self, *_: object) -> None: ...

        def build(self, prepared: Any) -> Any:
            return prepared

    def findings(prepared: Any, name: str) -> list[Any]:
        looked_at.append(prepared.recipe.seed)
        return []

    monkeypatch.setattr(check_module, "PreflightBuilder", Builder)
    monkeypatch.setattr(check_module, "preflight_rules", SimpleNamespace(findings=findings))
    preparer = cast(Any, SimpleNamespace(chat=lambda base: None))

    def check(seeds: Seeds) -> list[int]:
        runs = [*replicates(Run(name="low", recipe=recipe()), seeds), Run(name="high", recipe=recipe(lr=0.1))]
        prepared = {run.name: cast(Prepared, SimpleNamespace(recipe=run.recipe)) for run in runs}
        looked_at.clear()
        check_module.check_cohort(cast(Any, SimpleNamespace(name="b")), preparer, prepared, Path())
        return list(looked_at)

    assert check(Seeds(count=3)) == [42, 42]
    assert check(Seeds(count=3, resample=True)) == [42, 43, 44, 42]
