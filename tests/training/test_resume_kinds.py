"""Every kind of adapter goes on after a stop as if it had never been stopped."""

from pathlib import Path
from typing import Any

from helpers import MakeRecipe, MakeStudy, StopWhen, adapter_bytes
from paceline.runs.directory import RunDirectory
from paceline.runs.events import TrainEvent, of_kind, read_events
from paceline.training.study import TrainingOptions, train_study

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "loraplus": {"loraplus_lr_ratio": 8.0, "weight_decay": 0.1},
    "loraplus-dora": {"loraplus_lr_ratio": 8.0, "use_dora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa-loraplus": {"init_lora_weights": "pissa", "loraplus_lr_ratio": 4.0},
    "olora": {"init_lora_weights": "olora", "rank_pattern": {"q_proj": 3}},
    "rows": {"trainable_token_indices": {"embed_tokens": [7, 300, 22], "lm_head": [300]}},
    "copies": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "rows-loraplus-pissa": {
        "trainable_token_indices": [300],
        "loraplus_lr_ratio": 4.0,
        "init_lora_weights": "pissa",
    },
}
EIGHT_BITS = {"loraplus-8bit": {"loraplus_lr_ratio": 8.0, "optim": "adamw8bit"}}


def test_a_stopped_run_of_any_kind_ends_with_the_same_bits(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    common = {"max_steps": 4, "max_length": 64, "batch_size": 2, "grad_accum": 2, "lora_dropout": 0.1}
    runs = study(**{name: recipe(**common, **own) for name, own in (KINDS | EIGHT_BITS).items()})
    train_study(runs, tmp_path / "whole")
    stop = StopWhen(lambda cohort: all(run.step >= 2 for run in cohort.runs))
    train_study(runs, tmp_path / "stopped", TrainingOptions(callbacks=[stop]))
    assert RunDirectory(tmp_path / "stopped" / "plain").status().state == "stopped"
    train_study(runs, tmp_path / "stopped")
    for run in runs.runs:
        whole, stopped = tmp_path / "whole" / run.name, tmp_path / "stopped" / run.name
        assert adapter_bytes(whole) == adapter_bytes(stopped), run.name
        losses = [
            [event.loss for event in of_kind(read_events(folder / "events.jsonl"), TrainEvent)]
            for folder in (whole, stopped)
        ]
        assert losses[0] == losses[1], run.name
