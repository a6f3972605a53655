"""An adapter is asked with the chat template that it was trained with, wherever that file is now."""

from pathlib import Path

import pytest

from helpers import MakeRecipe, MakeStudy
from paceline.data.templates import TEMPLATES
from paceline.errors import RunError
from paceline.evaluate.adapters import load_adapters
from paceline.export.push import stage
from paceline.training.study import train_study


def test_a_run_keeps_its_template(
    recipe: MakeRecipe, study: MakeStudy, sums: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("own.jinja")
    own.write_text(TEMPLATES["chatml"].read_text() + "{# own #}")
    data = {"source": sums, "n": 20, "eval_ratio": 0.2, "chat_template": "own.jinja"}
    train_study(study(a=recipe(data=data, max_steps=1)), tmp_path / "s")
    written = own.read_text()
    own.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = tmp_path / "s" / "a"
    assert load_adapters([run]).chat.tokenizer.chat_template == written
    stage(run, "someone/a", tmp_path / "elsewhere")
    assert Path("chat_template.jinja").read_text() == written
    (run / "adapter" / "chat_template.jinja").write_text(written.replace("own", "other"))
    with pytest.raises(RunError, match=r"chat_template.jinja is damaged"):
        load_adapters([run])
