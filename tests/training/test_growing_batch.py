"""A growing batch and a custom schedule: a run ends with the same bits beside others and after a stop."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers import MakeRecipe, MakeStudy, StopWhen, adapter_bytes
from paceline.runs.events import TrainEvent, of_kind, read_events
from paceline.training.callbacks import CohortView
from paceline.training.study import TrainingOptions, train_study

pytestmark = pytest.mark.slow

SCHEDULE = "def falling(step, plan):\n    return 1 - step / plan.total_steps\n"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Which examples a step sees is the question here, not how a product is split over threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_together_stopped_and_resumed_it_ends_as_alone(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "schedule_of_a_growing_run.py").write_text(SCHEDULE)
    monkeypatch.chdir(tmp_path)
    growing = recipe(
        batch_size={"start": 2, "end": 12, "steps": 6},
        grad_accum=1,
        max_steps=None,
        epochs=0.4,
        lr_scheduler="schedule_of_a_growing_run:falling",
        lora_dropout=0.1,
        save_steps=2,
    )
    train_study(study(growing=growing), tmp_path / "alone")
    both = study(growing=growing, other=recipe(lora_r=8, max_steps=4))

    def past_its_third_step(cohort: CohortView) -> bool:
        return any(run.name == "growing" and run.step >= 3 for run in cohort.runs)

    options = TrainingOptions(callbacks=[StopWhen(past_its_third_step)])
    assert train_study(both, tmp_path / "both", options).states()["growing"] == "stopped"
    assert train_study(both, tmp_path / "both").states()["growing"] == "finished"
    assert adapter_bytes(tmp_path / "both" / "growing") == adapter_bytes(tmp_path / "alone" / "growing")
    events = list(of_kind(read_events(tmp_path / "alone" / "growing" / "events.jsonl"), TrainEvent))
    assert [event.lr for event in events] == [1e-3 * (1 - step / len(events)) for step in range(len(events))]
