"""Every file of a run, damaged in every way: the run ends with the same bits, or one line says what is wrong.

`pytest tests/faults/test_damage.py -s` prints how many survived: the figures in docs/reliability.md.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeBase, StopWhen, adapter_bytes
from paceline.api.comparison import compare
from paceline.api.inspection import diagnose, write_report
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.errors import PacelineError
from paceline.evaluate.adapters import load_adapters
from paceline.export.merge import merge
from paceline.report.watch import render
from paceline.runs.events import read_events
from paceline.runs.losses import ExampleLosses
from paceline.training.callbacks import Callback
from paceline.training.study import TrainingOptions, train_study

pytestmark = pytest.mark.slow

IN_CHECKPOINT = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.safetensors",
    "progress.json",
    "inputs.json",
    "recipe.yaml",
    "events.jsonl",
    "manifest.json",
)
OF_STOPPED = (
    "recipe.yaml",
    "inputs.json",
    "events.jsonl",
    "status.json",
    "trainer_state.json",
    "eval/base.parquet",
    "best/adapter_model.safetensors",
    *(f"checkpoints/step-5/{name}" for name in IN_CHECKPOINT),
)
OF_FINISHED = (
    "recipe.yaml",
    "inputs.json",
    "events.jsonl",
    "status.json",
    "trainer_state.json",
    "eval/base.parquet",
    "eval/final.parquet",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "adapter/manifest.json",
)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    rng = random.Random(path.name)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a bit flipped": flip,
    "cut": cut,
    "emptied": empty,
    "deleted": Path.unlink,
}


class Lines(Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, message: str) -> None:
        self.lines.append(message)


class Trained:
    """A tiny study of one run: whole, and stopped after five of its eight steps."""

    def __init__(self, folder: Path, base: str) -> None:
        rows = folder / "rows.jsonl"
        texts = ({"prompt": f"What is {i}?", "completion": f"It is {i + 1}."} for i in range(40))
        rows.write_text("".join(json.dumps(row) + "\n" for row in texts))
        fields = {
            "base": base,
            "data": {"source": str(rows), "eval_ratio": 0.2},
            "max_length": 128,
            "lora_r": 2,
            "lr": 1e-3,
            "batch_size": 2,
            "grad_accum": 1,
            "max_steps": 8,
            "logging_steps": 2,
            "eval_steps": 2,
            "save_steps": 3,
            "load_best": True,
        }
        self.study = Study(name="s", runs=[Run(name="a", recipe=make_recipe(fields, "test"))])
        self.whole, self.stopped = folder / "whole", folder / "stopped"
        train_study(self.study, self.whole)
        stop = StopWhen(lambda cohort: cohort.runs[0].step >= 5)
        train_study(self.study, self.stopped, TrainingOptions(callbacks=[stop]))

        files = ("base.parquet", "final.parquet")
        self.losses = {name: ExampleLosses.read(self.whole / "a" / "eval" / name) for name in files}
        self.answers = {what: ask(self.whole, folder / what) for what, ask in QUESTIONS.items()}
        self.said = self.resume(self.whole)

    def resume(self, folder: Path) -> list[str]:
        """Runs the study again, and gives what was said."""
        told = Lines()
        train_study(self.study, folder, TrainingOptions(callbacks=[told]))
        return told.lines

    def is_whole(self, folder: Path) -> bool:
        """Whether the run ended as the one that nothing befell."""
        run, whole = folder / "a", self.whole / "a"
        return (
            adapter_bytes(run) == adapter_bytes(whole)
            and _log(run) == _log(whole)
            and all(
                ExampleLosses.read(run / "eval" / name).to_pandas().equals(expected.to_pandas())
                for name, expected in self.losses.items()
            )
        )


def _log(run: Path) -> list[dict[str, Any]]:
    return [event.model_dump(exclude={"seconds"}) for event in read_events(run / "events.jsonl")]


@pytest.fixture(scope="module")
def trained(tiny_base: MakeBase, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"), tiny_base())


@pytest.fixture(scope="module")
def counted() -> Iterator[Counter[str]]:
    """What became of the damaged runs, printed in the end."""
    found: Counter[str] = Counter()
    yield found
    print()
    for what, count in found.items():
        print(f"{count:4} {what}")


def one_line(error: PacelineError) -> None:
    assert "\n" not in str(error)
    assert str(error).strip()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", OF_STOPPED)
def test_a_damaged_stopped_run_ends_with_the_same_bits(
    name: str, damage: str, trained: Trained, counted: Counter[str], tmp_path: Path
) -> None:
    shutil.copytree(trained.stopped, tmp_path / "s")
    DAMAGES[damage](tmp_path / "s" / "a" / name)
    said = trained.resume(tmp_path / "s")
    assert trained.is_whole(tmp_path / "s")
    if name.startswith("checkpoints"):
        assert any("checkpoint step-5 is put aside" in line and "step-3" in line for line in said), said
    elif damage == "cut" and name not in ("trainer_state.json", "best/adapter_model.safetensors"):
        assert any(Path(name).name in line for line in said), said
    counted["stopped runs ended with the same bits"] += 1


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", OF_FINISHED)
def test_a_damaged_finished_run_gives_right_answers_or_one_line_and_is_made_whole(
    name: str, damage: str, trained: Trained, counted: Counter[str], tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    shutil.copytree(trained.whole, folder)
    DAMAGES[damage](folder / "a" / name)
    for what, ask in QUESTIONS.items():
        if what == "merge" and not name.startswith("adapter"):
            continue
        try:
            found = ask(folder, tmp_path / what)
        except PacelineError as error:
            one_line(error)
            counted["questions to finished runs refused in one line"] += 1
        else:
            lost = (name, damage) == ("eval/final.parquet", "deleted")  # no result, which is said
            assert found == trained.answers[what] or lost, what
            counted["questions to finished runs answered rightly"] += 1
    trained.resume(folder)
    assert trained.is_whole(folder)
    assert trained.resume(folder) == trained.said, "and then it is a finished run"
    counted["finished runs made whole again"] += 1


def _compared(folder: Path, out: Path) -> Any:
    return repr(compare(folder).to_dict())


def _reported(folder: Path, out: Path) -> Any:
    return write_report(folder, out).markdown.read_text().replace(str(folder), "")


def _watched(folder: Path, out: Path) -> Any:
    from rich.console import Console

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(folder)[0])
    return console.export_text()


def _diagnosed(folder: Path, out: Path) -> Any:
    return [str(finding) for finding in diagnose(folder / "a")]


def _generated(folder: Path, out: Path) -> Any:
    adapter = load_adapters([folder / "a"]).adapters["a"]
    assert adapter is not None
    return adapter.parameters.tolist()


def _merged(folder: Path, out: Path) -> Any:
    merge(folder / "a", out, "float32")
    return (out / "model.safetensors").read_bytes()


QUESTIONS: dict[str, Callable[[Path, Path], Any]] = {
    "compare": _compared,
    "report": _reported,
    "watch": _watched,
    "doctor": _diagnosed,
    "generate": _generated,
    "merge": _merged,
}
