"""Teachers: each is loaded once, and only if its tokens are the base's."""

from pathlib import Path

import pytest

from helpers import MakeBase, MakeRecipe, MakeStudy
from paceline.data.chat import load_tokenizer
from paceline.errors import PacelineError
from paceline.model.base import Base
from paceline.model.quantization import is_quantized
from paceline.training.prepare import Preparer
from paceline.training.study import train_study
from paceline.training.teacher import load_teachers


def test_each_teacher_is_loaded_once_for_all_runs(
    tiny_base: MakeBase, loaded_base: Base, recipe: MakeRecipe
) -> None:
    name = tiny_base("llama")
    recipes = [
        recipe(),
        recipe(distill={"teacher": name}),
        recipe(distill={"teacher": name, "weight": 0.1}),
        recipe(distill={"teacher": name, "quantize": "nf4"}),
    ]
    lines: list[str] = []
    teachers = load_teachers(recipes, Preparer(), loaded_base, lines.append)
    assert list(teachers) == [(name, "none"), (name, "nf4")]
    assert lines == [f"loading the teacher {name}"] * 2
    stored = [any(is_quantized(m) for m in teacher.base.model.modules()) for teacher in teachers.values()]
    assert stored == [False, True]
    assert load_teachers([recipe()], Preparer(), loaded_base, lines.append) == {}


def test_a_teacher_with_another_vocabulary_is_refused(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    folder = tmp_path / "stranger"
    tokenizer = load_tokenizer("embedded")
    tokenizer.add_tokens(["<|new|>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        PacelineError, match=r"another vocabulary than .* \(1 entries differ, first .<\|new\|>.\)"
    ):
        train_study(study(run=recipe(distill={"teacher": str(folder)})), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
