"""Quantized bases: every adapter matrix learns, and runs do not see each other."""

import sys

import pytest

from helpers import adapter_bytes
from paceline.errors import PacelineError
from paceline.model.base import load_base
from paceline.model.quantization import BaseFormat
from paceline.runs.events import TrainEvent, of_kind, read_events
from paceline.train.study import train_study

KINDS = ["nf4", "nf4-double", "fp4", "int8"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_has_a_gradient_after_two_steps(kind, recipe, study, tmp_path):
    train_study(study(run=recipe(quantize=kind, max_steps=3)), tmp_path)
    base = load_base(recipe().base, storage=BaseFormat(kind))
    before, after = (base.new_adapter(recipe()) for _ in range(2))
    before.initialize(recipe().seed)
    after.load(tmp_path / "run" / "adapter")
    for name, (a, b) in after.matrices.items():
        assert (a != before.matrices[name][0]).any(), f"{name}: A did not move"
        assert b.any(), f"{name}: B did not move"
    assert all(
        event.grad_norm > 0 for event in of_kind(read_events(tmp_path / "run" / "events.jsonl"), TrainEvent)
    )


@pytest.mark.parametrize("kind", ["nf4-double", "int8"])
def test_together_equals_alone(kind, recipe, study, tmp_path):
    runs = {"a": recipe(quantize=kind, lora_r=4), "b": recipe(quantize=kind, batch_size=2, seed=1)}
    train_study(study(**runs), tmp_path / "together")
    for name, fields in runs.items():
        train_study(study(**{name: fields}), tmp_path / "alone")
        assert adapter_bytes(tmp_path / "together" / name) == adapter_bytes(tmp_path / "alone" / name)


def test_runs_on_differently_stored_bases_train_in_one_study(recipe, study, tmp_path):
    runs = {
        "plain": recipe(max_steps=2),
        "four": recipe(max_steps=2, quantize="nf4"),
        "eight": recipe(max_steps=2, quantize="int8"),
    }
    assert set(train_study(study(**runs), tmp_path).states().values()) == {"finished"}


def test_without_bitsandbytes_it_says_what_to_install(recipe, study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    for fields in ({"quantize": "nf4"}, {"optim": "adamw8bit"}):
        with pytest.raises(
            PacelineError, match=r"needs bitsandbytes; install it with `pip install 'paceline\[quant\]'`"
        ):
            train_study(study(run=recipe(**fields)), tmp_path)
    assert not list(tmp_path.glob("*/recipe.yaml"))
