"""Draws the course's figures: schedules by the functions that train, sick curves from logs of real runs.

python scripts/make_course_figures.py
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from paceline.api.svg import COLOURS
from paceline.config.load import make_recipe
from paceline.training.order import make_step_plan
from paceline.training.schedule import learning_rate

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "course" / "figures"
CASES = ROOT / "tests" / "doctor" / "cases"
STEPS = 100
SCHEDULES = {
    "cosine": {},
    "linear": {},
    "constant_with_warmup": {},
    "cosine_with_min_lr": {"min_lr_ratio": 0.1},
    "cosine_with_restarts": {"num_cycles": 3},
    "warmup_stable_decay": {"decay_ratio": 0.2},
    "polynomial": {"power": 5},
}
# The log of a run, and what the picture shows.
SICK = {
    "two-epochs": "healthy",
    "frozen-adapter": "nothing is trained",
    "no-rate": "the rate is far too low",
    "rate-too-high-clipped": "the rate is far too high",
    "rows-by-heart": "rows learned by heart",
    "rate-dies": "the rate dies early",
}


def schedules() -> plt.Figure:
    """Every scheduler's rate, as a share of the peak."""
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for colour, (name, fields) in zip(COLOURS, SCHEDULES.items(), strict=True):
        own = {
            "base": "embedded",
            "data": "embedded:rust",
            "lr": 1.0,
            "warmup_ratio": 0.1,
            "max_steps": STEPS,
        }
        recipe = make_recipe({**own, "lr_scheduler": name, **fields}, name)
        rate = learning_rate(recipe, make_step_plan(recipe, 1000))
        axes.plot([rate(step) for step in range(STEPS)], label=name, color=colour)
    axes.set(xlabel="step", ylabel="learning rate, share of lr")
    figure.legend(loc="outside right center", frameon=False)
    return figure


def sick() -> plt.Figure:
    """Loss, held-out loss and gradient norm of a healthy run and five broken ones."""
    figure, axes = plt.subplots(4, 3, figsize=(9, 7.5), layout="constrained", sharey="row")
    for number, (case, title) in enumerate(SICK.items()):
        events = [json.loads(line) for line in (CASES / f"{case}.jsonl").read_text().splitlines()]
        train = [event for event in events if event["event"] == "train"]
        held_out = [event for event in events if event["event"] == "eval"]
        steps = [event["step"] for event in train]
        row, column = 2 * (number // 3), number % 3
        loss, norm = axes[row][column], axes[row + 1][column]
        loss.plot(steps, [event["loss"] for event in train], color=COLOURS[0], linewidth=0.9)
        loss.plot(
            [event["step"] for event in held_out],
            [event["loss"] for event in held_out],
            "o--",
            color=COLOURS[1],
            markersize=3,
        )
        norm.plot(steps, [event["grad_norm"] for event in train], color=COLOURS[2], linewidth=0.9)
        loss.set(title=title, ylim=(0, 8))
        norm.set(xlabel="step", ylim=(0, 6))
        if column == 0:
            loss.set_ylabel("loss; dashed: held out")
            norm.set_ylabel("gradient norm")
    return figure


def main() -> None:
    plt.rcParams.update({"svg.hashsalt": "paceline", "svg.fonttype": "none", "font.size": 9})
    FIGURES.mkdir(exist_ok=True)
    for draw in (schedules, sick):
        draw().savefig(
            FIGURES / f"{draw.__name__}.svg", metadata={"Date": None}, facecolor="white", transparent=False
        )


if __name__ == "__main__":
    main()
