"""Logs of other trainers in their own forms, and no all-clear without a line that was read."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.doctor.finding import Finding
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.log import Log
from paceline.doctor.logs.read import read_log
from paceline.errors import RunError


def read(path: Path, text: str | bytes) -> Log:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    ((_, log),) = read_log(path)
    return log


def rules(log: Log) -> dict[str, Finding]:
    return {finding.rule: finding for finding in log_rules.findings(log)}


LOGS = {
    "mlx-lm": """Starting training..., iters: 100
Iter 1: Val loss 3.500, Val took 2.1s
Iter 10: Train loss 3.100, Learning Rate 1.000e-05, It/sec 1.2, Tokens/sec 300.1, Trained Tokens 2500
Iter 20: Train loss 2.900, Learning Rate 9.000e-06, It/sec 1.2, Tokens/sec 300.1, Trained Tokens 5000
Iter 20: Val loss 2.950, Val took 2.0s
""",
    "torchtune": """Step 10 | loss:3.1 lr:1e-05 tokens_per_second_per_gpu:812.3
Step 20 | loss:2.9 lr:9e-06 tokens_per_second_per_gpu:815.0
""",
    "nemo": """[NeMo I] setup
Training epoch 0, iteration 9/99 | lr: 1e-05 | global_step: 10 | reduced_train_loss: 3.1 | x_s: 1.2
Training epoch 0, iteration 19/99 | lr: 9e-06 | global_step: 20 | reduced_train_loss: 2.9 | val_loss: 2.95
""",
    "llama-factory": """{"current_steps": 10, "total_steps": 100, "loss": 3.1, "lr": 1e-05, "epoch": 0.1}
{"current_steps": 20, "total_steps": 100, "loss": 2.9, "lr": 9e-06, "eval_loss": null, "epoch": 0.2}
""",
    "ms-swift": """{"loss": 3.1, "learning_rate": 1e-05, "token_acc": 0.5, "global_step/max_steps": "10/100"}
{"loss": 2.9, "learning_rate": 9e-06, "token_acc": 0.5, "global_step/max_steps": "20/100"}
""",
    "wandb": """{"_step": 4, "train/global_step": 10, "train/loss": 3.1, "train/learning_rate": 1e-05}
{"_step": 20, "train/loss": 2.9, "train/learning_rate": 9e-06}
""",
    "coloured, with a bar": """\x1b[32m 10%\r{'loss': 3.1, 'learning_rate': 1e-05, 'step': 10}\x1b[0m
{'loss': np.float32(2.9), 'grad_norm': tensor(0.5, device='cuda:0'), 'learning_rate': 9e-06, 'step': 20}
""",
}


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_trainers_own_form_is_read(tmp_path: Path, name: str, encoding: str) -> None:
    log = read(tmp_path / "train.log", LOGS[name].encode(encoding))
    assert log.step.tolist() == [10, 20]
    assert log.loss == pytest.approx([3.1, 2.9])
    assert log.lr == pytest.approx([1e-5, 9e-6])
    assert log.unread == 0


def test_mlx_s_first_validation_is_the_untrained_model_s(tmp_path: Path) -> None:
    log = read(tmp_path / "train.log", LOGS["mlx-lm"])
    assert (log.base_loss, log.eval_loss.tolist()) == (3.5, [2.95])


def test_lightning_s_table_is_read(tmp_path: Path) -> None:
    table = "epoch,step,train_loss,val_loss,lr\n0,9,3.1,,1e-05\n0,19,2.9,,9e-06\n0,19,,2.95,\n"
    log = read(tmp_path / "metrics.csv", table)
    assert log.loss.tolist() == [3.1, 2.9]
    assert log.eval_loss.tolist() == [2.95]


def test_one_of_several_evaluation_sets_stands_for_all(tmp_path: Path) -> None:
    lines = [{"eval_a_loss": 2.0 - i / 10, "step": i} for i in range(1, 4)]
    lines += [{"eval_b_loss": 9.0, "step": i} for i in range(1, 4)]
    history = [{"loss": 2.0, "step": 1}, *lines]
    log = read(tmp_path / "trainer_state.json", json.dumps({"log_history": history}))
    assert log.eval_loss.tolist() == pytest.approx([1.9, 1.8, 1.7])


def test_every_run_of_a_folder_is_read_by_its_name(tmp_path: Path) -> None:
    for name, loss in (("a", 3.0), ("b", 2.0)):
        folder = tmp_path / name / "checkpoint-10"
        folder.mkdir(parents=True)
        state = {"log_history": [{"loss": loss, "step": 10}]}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "trainer_log.jsonl").write_text(LOGS["llama-factory"])
    assert {name: log.loss[-1] for name, log in read_log(tmp_path)} == {"a": 3.0, "b": 2.0, "c": 2.9}


def test_a_loss_of_zero_beside_nan_gradients_is_told_and_no_rule_fails(tmp_path: Path) -> None:
    lines = ["{'loss': 1.5, 'grad_norm': nan, 'learning_rate': 2e-4}"]
    lines += ["{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 2e-4}"] * 30
    found = rules(read(tmp_path / "train.log", "\n".join(lines)))
    assert found["not-finite"].severity == found["loss-is-zero"].severity == "error"
    assert not [finding for finding in found.values() if "failed" in finding.message]


def test_a_warm_up_that_never_ends(tmp_path: Path) -> None:
    rising = [{"loss": 3 - step / 100, "learning_rate": step * 1e-6, "step": step} for step in range(1, 61)]
    falling = [{**line, "learning_rate": 1e-4 / line["step"]} for line in rising]
    for history, speaks in ((rising, True), (falling, False)):
        log = read(tmp_path / "trainer_state.json", json.dumps({"log_history": history}))
        assert ("endless-warmup" in rules(log)) == speaks


def test_what_cannot_be_read_is_counted_and_quoted(tmp_path: Path) -> None:
    log = read(tmp_path / "train.log", "{'loss': 2.0, 'step': 1}\nepoch 1 loss = 2.3 (avg)\n")
    assert (
        "1 lines could not be read, 1 could; the first: epoch 1 loss = 2.3 (avg)"
        in rules(log)["lines-unread"].message
    )
    with pytest.raises(RunError, match="1 lines seem to hold a loss, and none of them can be read"):
        read(tmp_path / "other.log", "epoch 1 loss = 2.3 (avg)\n")


@pytest.mark.parametrize(("name", "text"), [("empty.json", '{"log_history": []}'), ("empty.log", "")])
def test_no_line_is_no_all_clear(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(RunError, match="no logged step and no evaluation"):
        read(tmp_path / name, text)


def test_a_rate_far_too_low_is_not_made_lower(tmp_path: Path) -> None:
    history = [{"loss": float("nan"), "learning_rate": 5e-8, "step": step} for step in range(1, 4)]
    log = read(tmp_path / "trainer_state.json", json.dumps({"log_history": history}))
    assert "lr" not in rules(log)["not-finite"].fix


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.one_of(
        st.binary(max_size=400),
        st.tuples(st.sampled_from(sorted(LOGS)), st.integers(0, 300), st.binary(max_size=8)).map(
            lambda cut: LOGS[cut[0]].encode()[: cut[1]] + cut[2] + LOGS[cut[0]].encode()[cut[1] + 3 :]
        ),
    ),
    name=st.sampled_from(["x.log", "x.json", "x.jsonl", "metrics.csv"]),
)
def test_any_bytes_are_findings_or_one_line(tmp_path: Path, raw: bytes, name: str) -> None:
    try:
        log = read(tmp_path / name, raw)
    except RunError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert len(log) + len(log.eval_step) + (log.base_loss is not None)
    found = log_rules.findings(log)
    assert not [finding for finding in found if "failed:" in finding.message]
    assert np.isfinite(log.step).all()
