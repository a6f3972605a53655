"""JSON that nests without end, is cut off or is no UTF-8, in files of others: one line, no traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.doctor.logs.read import read_log
from paceline.errors import PacelineError
from paceline.evaluate.mtbench.protocol import load_templates
from paceline.evaluate.mtbench.questions import load_questions
from paceline.export.tokenizer import _name_class
from paceline.model.peft_config import read_peft_config
from paceline.model.weight_files import weight_files
from paceline.report.metrics import fetch
from paceline.runs.manifest import read_sealed

pytestmark = pytest.mark.fast

READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "adapter": ("adapter_config.json", lambda file: read_peft_config(file.parent)),
    "base": ("model.safetensors.index.json", lambda file: weight_files(file.parent)),
    "log": ("trainer_state.json", read_log),
    "metrics": ("trainer_state.json", lambda file: fetch(str(file), "runs")),
    "prompts": ("judge_prompts.jsonl", lambda file: load_templates(str(file))),
    "questions": ("question.jsonl", lambda file: load_questions(str(file))),
    "run": ("status.json", read_sealed),
    "tokenizer": ("tokenizer_config.json", _name_class),
}
CONTENTS = {
    "deep": b'{"a": ' * 200_000,
    "deep-list": b"[" * 200_000 + b"]" * 200_000,
    "cut": b'{"log_history": [{"loss": 1',
    "bytes": b'{"weight_map": "\xff"}',
    "list": b"[1, 2]",
    "number": b"3",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_is_refused_in_a_line(tmp_path: Path, name: str, read: Callable[[Path], Any], content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PacelineError) as refused:
        read(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_turns_are_texts(tmp_path: Path) -> None:
    (tmp_path / "question.jsonl").write_text('{"question_id": 1, "category": "a", "turns": "What is it?"}\n')
    with pytest.raises(PacelineError, match="line 1: turns is a list of texts"):
        load_questions(str(tmp_path / "question.jsonl"))
