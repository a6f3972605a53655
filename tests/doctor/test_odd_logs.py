"""Healthy logs that look odd, sick ones in odd forms: what is said of them is what is true of the run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline.doctor.finding import Finding
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.read import read_log

RNG = np.random.default_rng(0)


def healthy(steps: int = 300, every: int = 10, **more: Any) -> list[dict[str, Any]]:
    """Lines as transformers writes them: the loss falls from 2.2 to 1.2, the rate as a cosine."""
    lines = []
    for step in range(every, steps + 1, every):
        share = step / steps
        figures = {
            "step": step,
            "loss": 1.2 + float(np.exp(-3 * share)) + 0.02 * float(RNG.standard_normal()),
            "learning_rate": 1e-4 * (1 + float(np.cos(np.pi * share))),
            "grad_norm": 0.8,
            "epoch": share,
        }
        lines.append({**figures, **more})
    return lines


def evaluated(losses: dict[int, float], **more: Any) -> list[dict[str, Any]]:
    return [{"step": step, "eval_loss": loss, **more} for step, loss in losses.items()]


def found(path: Path, lines: list[dict[str, Any]], **state: Any) -> dict[str, Finding]:
    path = path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": lines, **state}, sort_keys=True))
    ((_, log),) = read_log(path)
    return {finding.rule: finding for finding in log_rules.findings(log)}


@pytest.mark.parametrize("steps", [500, 505])
@pytest.mark.parametrize("end", [{"global_step": 1}, {"closing": True}, {}])
def test_a_run_is_over_though_its_last_step_is_not_logged(
    tmp_path: Path, steps: int, end: dict[str, Any]
) -> None:
    """transformers logs every so many steps, and not the last one."""
    lines = [{**line, "epoch": 0.089} for line in healthy(500)]
    closing = [{"train_runtime": 9.0, "train_loss": 1.4, "step": steps}] if "closing" in end else []
    state = {"max_steps": steps} | ({"global_step": steps} if "global_step" in end else {})
    assert "low-coverage" in found(tmp_path, [*lines, *closing], **state)
    assert "low-coverage" not in found(tmp_path, lines[:20], max_steps=steps)


def test_the_loss_of_experts_routers_is_no_held_out_loss(tmp_path: Path) -> None:
    rising = evaluated({60: 1.6, 120: 1.4, 180: 1.5, 240: 1.7, 300: 1.9}, eval_aux_loss=1.0099)
    assert "overfitting" in found(tmp_path, [*healthy(), *rising])


@pytest.mark.parametrize("last", [float("nan"), None])
def test_figures_that_are_no_numbers_are_an_error(tmp_path: Path, last: float | None) -> None:
    """JSON has no word for NaN; a null beside a rate is one."""
    if last is None:
        lines = [{**line, "loss": last if line["step"] > 150 else line["loss"]} for line in healthy()]
    else:
        lines = [*healthy(), *evaluated({60: 1.6, 120: last, 180: last})]
    assert found(tmp_path, lines)["not-finite"].severity == "error"


@pytest.mark.parametrize(
    ("losses", "is_told"),
    [
        ((0.8121, 0.8012, 0.8012), False),
        ((0.998, 0.998, 0.998), False),
        ((2.931, 2.931, 2.931), True),
        ((0.80123, 0.79876, 0.79876), True),
    ],
)
def test_equal_evaluations_need_as_many_digits_as_a_log_prints(
    tmp_path: Path, losses: tuple[float, ...], is_told: bool
) -> None:
    lines = evaluated({100 * (at + 1): loss for at, loss in enumerate(losses)})
    assert ("same-eval" in found(tmp_path, [*healthy(), *lines])) == is_told


def test_an_evaluation_that_every_line_repeats_is_one(tmp_path: Path) -> None:
    lines = [{**line, "val_loss": 1.24212 if line["step"] > 150 else 1.41234} for line in healthy()]
    assert "same-eval" not in found(tmp_path, lines)


def test_a_resumed_run_and_another_one_begin_anew(tmp_path: Path) -> None:
    curve = {60: 1.6, 120: 1.5, 180: 1.4, 240: 1.3}
    first = sorted([*healthy()[:25], *evaluated(curve)], key=lambda line: line["step"])
    again = sorted([*healthy()[10:14], *evaluated({120: 1.5})], key=lambda line: line["step"])
    assert "overfitting" not in found(tmp_path, [*first, *again])
    flat = [{**line, "loss": 2.0, "grad_norm": 0.0} for line in healthy()]
    told = found(tmp_path, [*healthy(), *flat])
    assert {"loss-flat", "zero-gradient"} <= set(told)


def test_padding_is_counted_over_a_resume(tmp_path: Path) -> None:
    """TRL's count of tokens begins at zero again, transformers' goes on."""
    lines = healthy()
    for at, line in enumerate(lines):
        line |= {"num_tokens": 980.0 * (at % 15 + 1), "num_input_tokens_seen": 1000 * (at + 1)}
    assert "padding" not in found(tmp_path, lines)


HEALTHY = {
    "whole epochs": [{**line, "epoch": 0} for line in healthy()],
    "a text that is no number": [{**line, "grad_norm": "N/A"} for line in healthy()],
    "a tensor as text": [{**line, "grad_norm": "tensor(0.7000, device='cuda:0')"} for line in healthy()],
    "rows known by heart": [
        {**line, "loss": round(max(0.0, line["loss"] - 1.2 - line["step"] / 200), 4)} for line in healthy()
    ],
    "a step that a loss scaler left out": [
        {**line, "grad_norm": float("inf") if line["step"] == 10 else 0.8} for line in healthy()
    ],
    "rates of one digit": [{**line, "learning_rate": round(line["learning_rate"], 4)} for line in healthy()],
    "an easy first example": [
        {**line, "loss": 0.6 if line["step"] == 10 else line["loss"]} for line in healthy()
    ]
    + evaluated({100: 1.6, 200: 1.4, 300: 1.3}),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_has_no_error(name: str, tmp_path: Path) -> None:
    told = found(tmp_path, HEALTHY[name], max_steps=300)
    assert [finding.rule for finding in told.values() if finding.severity == "error"] == []
    assert not {"low-coverage", "dead-learning-rate"} & set(told)
