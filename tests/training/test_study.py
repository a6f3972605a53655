"""Every training feature in one cohort: each run equals itself alone and after a stop, bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import MakeBase, MakeRecipe, MakeStudy, StopWhen, adapter_bytes
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.data.chat import load_tokenizer
from paceline.doctor.live import LiveDoctor
from paceline.errors import PacelineError
from paceline.runs.events import EvalEvent, FindingEvent, StopEvent, TrainEvent, of_kind, read_events
from paceline.training import budget as budget_module
from paceline.training.callbacks import CohortView
from paceline.training.study import TrainingOptions, train_study

pytestmark = pytest.mark.slow
Recipes = dict[str, Recipe]


@pytest.fixture(scope="module")
def teacher(tiny_base: MakeBase, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another model with the same vocabulary."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_pretrained(tiny_base("qwen3"))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    load_tokenizer("embedded").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def features(tiny_base: MakeBase, sums: str, teacher: str) -> Recipes:
    """name -> recipe; `second` starts from `first`."""
    common = {
        "base": tiny_base("qwen3"),
        "data": sums,
        "max_length": 256,
        "lr": 1e-3,
        "logging_steps": 1,
        "max_steps": 6,
        "lora_r": 4,
    }
    own: dict[str, dict[str, Any]] = {
        "plain": {},
        "kl": {"kl": {"coef": 0.5, "start_step": 2, "warmup_steps": 2, "tail": 5}},
        "measured": {"kl": {"measure": True}, "logging_steps": 2},
        "distilled": {"distill": {"teacher": teacher, "temperature": 2.0}},
        "both": {
            "distill": {"teacher": teacher, "weight": 0.3},
            "kl": {"coef": 0.1, "direction": "base-adapter"},
        },
        "all-tokens": {"loss_on": "all"},
        "short-first": {"order": "length"},
        "easy-first": {"order": "base-loss"},
        "checkpointed": {"gradient_checkpointing": True},
        "adam8": {"optim": "adamw8bit", "target_modules": ["q_proj", "gate_proj"]},
        "impatient": {"eval_steps": 1, "early_stop_patience": 2, "early_stop_min_delta": 5.0},
        "cleaned": {"data": {"source": sums, "clean": {"max_length": 120}}},
        "first": {"max_steps": 2},
        "second": {"init_from": "first"},
    }
    return {name: make_recipe({**common, **fields}, name) for name, fields in own.items()}


def study_of(recipes: Recipes) -> Study:
    return Study(name="features", runs=[Run(name=name, recipe=recipe) for name, recipe in recipes.items()])


@pytest.fixture(scope="module")
def together(features: Recipes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all of them, trained in one cohort."""
    folder = tmp_path_factory.mktemp("together")
    states = train_study(study_of(features), folder).states()
    assert set(states.values()) == {"finished"}
    return folder


def test_each_equals_itself_alone(
    features: Recipes, together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "MICRO_BATCH_TOKENS", 100_000)
    for name, recipe in features.items():
        needed = {"first": features["first"]} if name == "second" else {}
        train_study(study_of({**needed, name: recipe}), tmp_path / name)
        assert adapter_bytes(tmp_path / name / name) == adapter_bytes(together / name), name


def test_each_goes_on_after_a_stop_as_if_there_had_been_none(
    features: Recipes, together: Path, tmp_path: Path
) -> None:
    for allowed in range(9, 400, 20):
        stop = StopWhen(_after(allowed))
        states = train_study(study_of(features), tmp_path, TrainingOptions(callbacks=[stop])).states()
        if set(states.values()) == {"finished"}:
            break
    assert allowed > 9
    for name in features:
        assert adapter_bytes(tmp_path / name) == adapter_bytes(together / name), name
        assert _without_times(tmp_path / name) == _without_times(together / name), name


def _after(steps: int) -> Callable[[CohortView], bool]:
    """True once it was asked more than so many times."""
    left = iter(range(steps))
    return lambda cohort: next(left, None) is None


def _without_times(folder: Path) -> list[dict[str, Any]]:
    return [e.model_dump(exclude={"seconds"}) for e in read_events(folder / "events.jsonl")]


def test_checkpointing_changes_no_bit(together: Path) -> None:
    assert adapter_bytes(together / "checkpointed") == adapter_bytes(together / "plain")


def test_features_change_the_run(together: Path) -> None:
    assert (
        len({adapter_bytes(path.parent) for path in together.glob("*/adapter")})
        == len(list(together.glob("*/adapter"))) - 2
    ), "checkpointed and measured equal plain, the others do not"


def test_the_log_tells_the_terms(together: Path) -> None:
    trained = of_kind(read_events(together / "kl" / "events.jsonl"), TrainEvent)
    assert [event.kl_weight for event in trained] == [None, None, None, 0.25, 0.5, 0.5]
    for event in trained[3:]:
        assert event.cross_entropy is not None
        assert event.kl is not None
        assert event.kl_weight is not None
        assert event.loss == pytest.approx(event.cross_entropy + event.kl_weight * event.kl, abs=1e-9)
    measured = of_kind(read_events(together / "measured" / "events.jsonl"), TrainEvent)
    assert len(measured) == 3
    assert all(event.kl for event in measured[1:])
    final = of_kind(read_events(together / "measured" / "events.jsonl"), EvalEvent)[-1]
    assert final.kl is not None
    assert final.kl > 0


def test_early_stop_ends_one_run(together: Path) -> None:
    status = json.loads((together / "impatient" / "status.json").read_text())
    assert status["stopped_early"]
    assert status["step"] == 3
    stop = of_kind(read_events(together / "impatient" / "events.jsonl"), StopEvent)
    assert [(event.step, event.rule) for event in stop] == [(3, "early_stop_patience")]
    assert status["reason"] == stop[0].reason
    assert status["reason"].startswith("eval loss had not fallen by 5 for 2 evaluations (lowest ")
    assert not json.loads((together / "plain" / "status.json").read_text())["stopped_early"]


def test_a_second_phase_starts_from_the_first_and_is_evaluated_before(together: Path) -> None:
    events = read_events(together / "second" / "events.jsonl")
    evaluated = {event.name: event.loss for event in of_kind(events, EvalEvent)}
    first = of_kind(read_events(together / "first" / "events.jsonl"), EvalEvent)[-1]
    assert evaluated["start"] == first.loss
    assert evaluated["final"] < evaluated["start"] < evaluated["base"]


def test_findings_are_told_once_each(recipe: MakeRecipe, study: MakeStudy, tmp_path: Path) -> None:
    """A rate of 1e-30 moves nothing: evaluations repeat to the last digit."""
    still = recipe(lr=1e-30, eval_steps=2, max_steps=6, warmup_ratio=0)
    train_study(study(still=still), tmp_path, TrainingOptions(callbacks=[LiveDoctor()]))
    rules = [e.rule for e in of_kind(read_events(tmp_path / "still" / "events.jsonl"), FindingEvent)]
    assert rules.count("same-eval") == 1
    assert len(set(rules)) == len(rules)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"init_from": "nobody"}, "neither a run of this study nor a folder with an adapter"),
        (
            {"train_tasks": ["understandin"], "phases": {"understanding": ["all"]}},
            "no task or phase 'understandin', did you mean 'understanding'",
        ),
        ({"lr_scheduler": "cosine_with_restarts", "num_cycles": 9}, "9 cycles do not fit into 8 steps"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    fields: dict[str, Any], said: str, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    with pytest.raises(PacelineError, match=said):
        train_study(study(run=recipe(**fields)), tmp_path)
    assert not list(tmp_path.iterdir())
