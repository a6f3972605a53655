"""Same inputs or a refusal: whatever a recipe only names is put in its place between two calls."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from helpers import MakeBase, MakeRecipe, MakeStudy, StopWhen, adapter_bytes, random_adapter
from paceline.data.chat import load_chat
from paceline.data.tokenizer_digest import template_digest
from paceline.errors import ModelError, PacelineError, RunError
from paceline.evaluate.adapters import load_adapters
from paceline.model.base import Base
from paceline.runs.inputs import Inputs, read_inputs
from paceline.training.callbacks import Callback
from paceline.training.inputs import gather_inputs
from paceline.training.prepare import Preparer
from paceline.training.study import TrainingOptions, train_study

SMALL: dict[str, Any] = {"batch_size": 2, "grad_accum": 1, "save_steps": 2, "max_steps": 6}


class Place:
    """A base and rows of their own, that may be changed."""

    def __init__(self, folder: Path, base: str) -> None:
        self.base, self.rows = folder / "base", folder / "rows.jsonl"
        shutil.copytree(base, self.base)
        texts = [{"prompt": f"What is {i}?", "completion": f"It is {i + 1}."} for i in range(40)]
        self.write(texts)

    def read(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.rows.read_text().splitlines()]

    def write(self, rows: list[dict[str, str]]) -> None:
        self.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def replace_rows(self) -> None:
        self.write(
            [{**row, "completion": row["completion"].replace("It is", "Es ist")} for row in self.read()]
        )

    def reorder_rows(self) -> None:
        self.write(self.read()[::-1])

    def append_rows(self) -> None:
        self.write([*self.read(), {"prompt": "One more?", "completion": "One more."}])

    def change_weights(self) -> None:
        file = self.base / "model.safetensors"
        seen, tensors = file.stat(), load_file(file)
        name = next(name for name in tensors if "q_proj" in name)
        tensors[name] = tensors[name] + 0.5
        save_file(tensors, file, metadata={"format": "pt"})
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    def change_config(self) -> None:
        self._change_json("config.json", lambda config: config.update(rms_norm_eps=1e-3))

    def change_tokenizer(self) -> None:
        def swap(content: dict[str, Any]) -> None:
            vocabulary = content["model"]["vocab"]
            one, two = sorted(vocabulary, key=vocabulary.get)[300:302]
            vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]

        self._change_json("tokenizer.json", swap)

    def change_template(self) -> None:
        file = self.base / "chat_template.jinja"
        file.write_text(file.read_text() + "{# as before, in other words #}")

    def _change_json(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        content = json.loads((self.base / name).read_text())
        change(content)
        (self.base / name).write_text(json.dumps(content))


CHANGES: dict[str, tuple[Callable[[Place], None], set[str]]] = {
    "replaced rows": (Place.replace_rows, {"train_rows", "held_out_rows"}),
    "reordered rows": (Place.reorder_rows, {"train_rows", "held_out_rows"}),
    "appended rows": (Place.append_rows, {"train_rows", "held_out_rows"}),
    "weights": (Place.change_weights, {"base_weights"}),
    "config": (Place.change_config, {"base_config"}),
    "tokenizer": (Place.change_tokenizer, {"tokenizer"}),
    "template": (Place.change_template, {"template"}),
}
SAID = {
    "train_rows": "the training rows",
    "base_weights": "the base's weights",
    "base_config": "the base's config.json",
    "tokenizer": "the tokenizer",
    "template": "the chat template",
}


@pytest.fixture
def place(tiny_base: MakeBase, tmp_path: Path) -> Place:
    return Place(tmp_path, tiny_base())


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_stopped_run_goes_on_with_what_it_began_with_or_not_at_all(
    change: str, place: Place, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    wanted = study(a=recipe(base=str(place.base), data=str(place.rows), **SMALL))
    train_study(wanted, tmp_path / "whole")
    stop = StopWhen(lambda cohort: cohort.runs[0].step >= 3)
    train_study(wanted, tmp_path / "run", TrainingOptions(callbacks=[stop]))
    kept = shutil.copytree(place.base, tmp_path / "kept"), place.rows.read_bytes()
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    apply, digests = CHANGES[change]
    apply(place)
    with pytest.raises(RunError) as refused:
        train_study(wanted, tmp_path / "run")
    assert all(SAID[name] in str(refused.value) for name in digests & set(SAID))
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files

    shutil.rmtree(place.base)
    shutil.copytree(kept[0], place.base)
    place.rows.write_bytes(kept[1])
    train_study(wanted, tmp_path / "run")
    assert adapter_bytes(tmp_path / "run" / "a") == adapter_bytes(tmp_path / "whole" / "a")
    newest = max((tmp_path / "run" / "a" / "checkpoints").glob("step-*"))
    inputs = [read_inputs(folder) for folder in (newest, newest.parents[1], newest.parents[1] / "end")]
    assert inputs[0] == inputs[1] == inputs[2] is not None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from(["replaced rows", "weights", "config", "tokenizer", "template"])))
def test_each_input_has_its_own_digest(
    tiny_base: MakeBase, recipe: MakeRecipe, tmp_path_factory: pytest.TempPathFactory, changed: set[str]
) -> None:
    """Whatever is changed together: these digests change, and no other."""
    place = Place(tmp_path_factory.mktemp("place"), tiny_base())

    def gather() -> Inputs:
        preparer = Preparer()
        wanted = recipe(base=str(place.base), data=str(place.rows), **SMALL)
        return gather_inputs(preparer.prepare(wanted), preparer, None)

    before = gather()
    for change in sorted(changed):
        CHANGES[change][0](place)
    after = gather()
    differing = {name for name in Inputs.model_fields if getattr(before, name) != getattr(after, name)}
    expected = set().union(*(CHANGES[change][1] for change in changed))
    # the swapped tokens may or may not stand in these rows
    may_follow = {"train_rows", "held_out_rows"} if "tokenizer" in changed else set()
    assert differing - may_follow == expected - may_follow
    assert differing >= expected


def test_a_held_out_row_alone(place: Place, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path) -> None:
    wanted = recipe(base=str(place.base), data=str(place.rows), **SMALL)
    held_out = Preparer().prepare(wanted).split.eval[0]
    row = int(Preparer().prepare(wanted).dataset.column("row")[held_out])
    stop = StopWhen(lambda cohort: cohort.runs[0].step >= 1)
    train_study(study(a=wanted), tmp_path / "run", TrainingOptions(callbacks=[stop]))
    rows = place.read()
    rows[row]["completion"] = "Who knows?"
    place.write(rows)
    with pytest.raises(RunError, match="run/a: the held-out rows changed since the run began"):
        train_study(study(a=wanted), tmp_path / "run")


class Lines(Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, message: str) -> None:
        self.lines.append(message)


def test_a_finished_run_says_so_and_no_other_trains_beside_it(
    place: Place, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    wanted = recipe(base=str(place.base), data=str(place.rows), **{**SMALL, "max_steps": 2})
    train_study(study(a=wanted), tmp_path / "run")
    again = Lines()
    assert train_study(study(a=wanted), tmp_path / "run", TrainingOptions(callbacks=[again])).skipped == ["a"]
    assert not any("other inputs" in line for line in again.lines)
    place.replace_rows()
    told = Lines()
    train_study(study(a=wanted), tmp_path / "run", TrainingOptions(callbacks=[told]))
    assert any(
        line.startswith("a has finished with other inputs than there are now: the training rows")
        for line in told.lines
    )
    with pytest.raises(
        PacelineError, match=r"a has finished with other inputs.*compared on different inputs"
    ):
        train_study(study(a=wanted, b=wanted.model_copy(update={"seed": 1})), tmp_path / "run")
    assert not (tmp_path / "run" / "b").exists()
    place.rows.unlink()
    gone = Lines()
    train_study(study(a=wanted), tmp_path / "run", TrainingOptions(callbacks=[gone]))
    assert any("whether its inputs are what they were cannot be told" in line for line in gone.lines)


@pytest.mark.parametrize("change", ["weights", "tokenizer", "template"])
def test_an_adapter_answers_over_its_own_base_only(
    change: str, place: Place, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    wanted = recipe(base=str(place.base), data=str(place.rows), **{**SMALL, "max_steps": 1})
    train_study(study(a=wanted), tmp_path / "run")
    assert load_adapters([tmp_path / "run" / "a"]).adapters["a"] is not None
    CHANGES[change][0](place)
    with pytest.raises(
        ModelError, match=f"{SAID[change if change != 'weights' else 'base_weights']} changed"
    ):
        load_adapters([tmp_path / "run" / "a"])


def test_the_adapter_a_run_starts_from_a_teacher_and_a_schedule_of_ones_own(
    place: Place, loaded_base: Base, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_rates.py").write_text("def half(step, plan):\n    return 0.5\n")
    wanted = recipe(
        data=str(place.rows),
        init_from=str(tmp_path / "parent"),
        distill={"teacher": str(place.base)},
        lr_scheduler="own_rates:half",
        **SMALL,
    )
    random_adapter(loaded_base, wanted).save(tmp_path / "parent", wanted)
    preparer = Preparer()
    prepared = preparer.prepare(wanted)
    before = gather_inputs(prepared, preparer, tmp_path / "parent")
    assert before.template == template_digest(load_chat(wanted.base))
    other = preparer.prepare(
        recipe(**{**SMALL, "data": {"source": str(place.rows), "chat_template": "chatml"}})
    )
    assert gather_inputs(other, preparer, None).template == template_digest(load_chat(wanted.base, "chatml"))
    assert before.changes(gather_inputs(prepared, preparer, tmp_path / "parent")) == []
    random_adapter(loaded_base, wanted, seed=1).save(tmp_path / "parent", wanted)
    place.change_weights()
    plan = replace(prepared, plan=replace(prepared.plan, total_steps=5))
    now = gather_inputs(plan, preparer, tmp_path / "parent")
    assert before.changes(now) == [
        "the adapter that it starts from",
        "the teacher",
        "the rates of its lr_scheduler",
    ]
