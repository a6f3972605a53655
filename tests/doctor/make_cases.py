"""Trains the embedded base in healthy and in broken ways; keeps the logs, with what the doctor must say.

    python tests/doctor/make_cases.py           # trains all (seven minutes on two cores)
    python tests/doctor/make_cases.py slower    # trains one
    python tests/doctor/make_cases.py --index   # only rewrites the index

Every log under cases/ is a real run's events; only its broken part is staged: a recipe that cannot work, data
that is odd, or a fault in the training step (a frozen adapter, a poisoned batch, a machine that slows down).
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from torch import Tensor

from paceline.config.data import Source
from paceline.config.load import make_recipe
from paceline.config.presets import PRESETS
from paceline.config.study import Run, Study
from paceline.data.sources import load_rows
from paceline.training.run import TrainingRun
from paceline.training.study import train_study

HERE = Path(__file__).parent / "cases"
COMMON = {
    "base": "embedded",
    "data": {"source": "embedded:rust", "n": 120},
    "batch_size": 4,
    "grad_accum": 1,
    "max_length": 512,
    "logging_steps": 1,
    "eval_steps": 10,
    "lr": 8e-4,
    "seed": 1,
}

RUST_1000 = {"source": "embedded:rust", "n": 1000}
WITHOUT_A_GRADIENT = ["zero-gradient", "loss-flat", "same-eval", "b-still-zero", "accuracy-at-base"]
BY_HEART = {"epochs": 25, "lr": 4e-3, "batch_size": 4, "grad_accum": 1, "lr_scheduler": "constant"}


LABELLED = {"epochs": 6, "lr": 4e-3, "max_length": 128}


def two_passes(fields: dict) -> dict:
    """A preset that is scaled up to the embedded base."""
    return {**fields, "lr": min(2e-3, 40 * fields["lr"]), "epochs": 2 if fields["batch_size"] > 2 else 1}


# name: recipe fields
HEALTHY = {
    **{f"preset-{name}": two_passes(fields) for name, fields in PRESETS.items()},
    "two-epochs": {"epochs": 2},
    "linear": {"lr_scheduler": "linear", "epochs": 2},
    "constant": {"lr_scheduler": "constant_with_warmup", "epochs": 2},
    "restarts": {"lr_scheduler": "cosine_with_restarts", "num_cycles": "epochs", "epochs": 2},
    "floor": {"lr_scheduler": "cosine_with_min_lr", "min_lr_ratio": 0.1, "epochs": 2},
    "rank-4": {"lora_r": 4, "lora_alpha": 8, "epochs": 2},
    "attention-only": {"target_modules": ["q_proj", "v_proj"], "epochs": 2, "lr": 2e-3},
    "rslora": {"lora_r": 64, "lora_alpha": 64, "use_rslora": True, "epochs": 2},
    "all-tokens": {"loss_on": "all", "epochs": 2},
    "russian": {"data": {"source": "embedded:twix", "n": 240}, "epochs": 2},
    "problems": {"data": {"source": "embedded:codeforces", "n": 120}, "epochs": 2},
    "anchored": {"kl": {"coef": 0.05}, "epochs": 2},
    "large-batch": {"batch_size": 8, "grad_accum": 2, "epochs": 3},
    "single-examples": {"batch_size": 1, "grad_accum": 4, "epochs": 1},
    "no-evaluation-on-the-way": {"eval_steps": None, "epochs": 2},
    "quantized": {"quantize": "nf4", "epochs": 2},
    "labels": {"data": {"source": "LABELS"}, **LABELLED, "epochs": 1},
}
# name: (recipe fields, rules that must speak, fault in the step)
BROKEN = {
    "no-rate": ({"lr": 1e-12, "epochs": 2}, ["loss-flat", "accuracy-at-base", "same-eval"], None),
    "no-rate-tiny-batch": (
        {"lr": 1e-12, "batch_size": 1, "grad_accum": 8, "epochs": 1},
        ["loss-flat", "tiny-batch", "accuracy-at-base"],
        None,
    ),
    "rate-too-high": (
        {"lr": 0.3, "epochs": 2, "warmup_ratio": 0, "max_grad_norm": 0},
        ["loss-above-start", "accuracy-at-base"],
        None,
    ),
    "rate-too-high-clipped": (
        {"lr": 0.5, "epochs": 2, "warmup_ratio": 0},
        ["loss-above-start", "accuracy-at-base"],
        None,
    ),
    "overflow": ({"lr": 1e30, "epochs": 2, "warmup_ratio": 0, "max_grad_norm": 0}, ["not-finite"], None),
    "frozen-adapter": ({"epochs": 2}, WITHOUT_A_GRADIENT, "frozen"),
    "frozen-adapter-few-lines": ({"epochs": 2, "logging_steps": 5}, WITHOUT_A_GRADIENT, "frozen"),
    "frozen-modules": ({"epochs": 2}, ["b-still-zero"], "no-q"),
    "one-layer-learns": ({"epochs": 2}, ["few-layers-learn"], "one-layer"),
    "nine-percent": (
        {"data": RUST_1000, "max_steps": 20, "batch_size": 1, "grad_accum": 4, "lr": 2e-3},
        ["low-coverage"],
        None,
    ),
    "nine-percent-low-rate": (
        {"data": RUST_1000, "max_steps": 20, "batch_size": 1, "grad_accum": 4, "lr": 1e-7},
        ["low-coverage", "tiny-batch", "loss-flat", "accuracy-at-base"],
        None,
    ),
    "a-third": (
        {"data": RUST_1000, "max_steps": 19, "batch_size": 4, "grad_accum": 4},
        ["low-coverage"],
        None,
    ),
    "rate-dies": (
        {"lr_scheduler": "polynomial", "power": 5, "epochs": 3},
        ["dead-learning-rate", "same-eval"],
        None,
    ),
    "rate-dies-at-once": (
        {"lr_scheduler": "polynomial", "power": 30, "epochs": 3, "warmup_ratio": 0},
        ["dead-learning-rate", "same-eval", "early-plateau"],
        None,
    ),
    "rows-by-heart": (
        {"data": {"source": "embedded:rust", "n": 50}, **BY_HEART, "epochs": 30},
        ["overfitting", "early-plateau"],
        None,
    ),
    "rows-by-heart-rank-64": (
        {"data": {"source": "embedded:rust", "n": 60}, **BY_HEART, "lora_r": 64, "lora_alpha": 128},
        ["overfitting"],
        None,
    ),
    "too-short": (
        {
            "data": {"source": "embedded:codeforces", "n": 200},
            "lr": 1e-3,
            "lr_scheduler": "constant",
            "max_steps": 12,
            "eval_steps": 3,
        },
        ["stopped-while-falling", "low-coverage"],
        None,
    ),
    "poisoned-batch": (
        {"epochs": 3, "data": {"source": "POISON"}, "batch_size": 2, "grad_accum": 1, "lr": 4e-4},
        ["loss-spikes"],
        None,
    ),
    "labels-shuffled": ({"data": {"source": "SHUFFLED"}, **LABELLED}, ["labels-carry-nothing"], None),
    "slower": ({"epochs": 3}, ["slower-and-slower"], "slower"),
    "huge-scale": ({"lora_r": 1, "lora_alpha": 4096, "epochs": 2, "lr": 1e-6}, ["large-gradient"], None),
    "padded-batches": ({"epochs": 2}, ["padding"], "padded"),
    "no-figures": ({"eval_steps": None, "epochs": 2}, ["figures-missing"], "stripped"),
    "zero-gradient-at-times": ({"epochs": 2}, ["zero-gradient"], "frozen-at-times"),
}


def silence(run: TrainingRun, chosen: Callable[[str], bool]) -> None:
    """Sets the gradients of the chosen modules to zero."""
    for name in filter(chosen, run.adapter.names):
        for part in run.adapter.gradient_of(name):
            part.zero_()


def slow_down(run: TrainingRun) -> None:
    if run.done > 0.7:
        time.sleep(0.6)
        run.progress.seconds += 0.6


def count_padding(run: TrainingRun) -> None:
    """Counts what a trainer that pads a batch to its longest example would have seen."""
    lengths = [len(sequence.inputs) for micro_batch in run.queue.all for sequence in micro_batch.sequences]
    PADDED.append((PADDED[-1] if PADDED else 0) + max(lengths) * len(lengths))


PADDED: list[int] = []
FAULTS: dict[str, Callable[[TrainingRun], None]] = {
    "frozen": lambda run: silence(run, lambda name: True),
    "frozen-at-times": lambda run: silence(run, lambda name: run.progress.step % 4 == 1),
    "no-q": lambda run: silence(run, lambda name: name.endswith("q_proj")),
    "one-layer": lambda run: silence(run, lambda name: ".3." not in name),
    "slower": slow_down,
    "stripped": lambda run: None,
    "padded": count_padding,
}


def stage(faults: dict[str, str]) -> None:
    """Puts the faults into the training step of the runs named."""
    plain = TrainingRun.reduce

    def faulty(run: TrainingRun) -> Tensor:
        if run.name in faults:
            FAULTS[faults[run.name]](run)
        return plain(run)

    TrainingRun.reduce = faulty  # type: ignore[method-assign, assignment]


def odd_data(folder: Path) -> dict[str, str]:
    """Rows of which a few have noise for an answer."""
    rng = random.Random(0)
    rows = load_rows(Source(source="embedded:rust")).select(np.arange(120)).to_list()
    alphabet = [chr(c) for c in range(0x4E00, 0x9000)]
    paths = {}
    for name, share in (("POISON", 0.03),):
        made = []
        for row in rows:
            noise = "".join(rng.choice(alphabet) for _ in range(50)) if rng.random() < share else None
            made.append({**row, "output_data": json.dumps({"text": noise})} if noise else row)
        paths[name] = str(folder / f"{name.lower()}.jsonl")
        Path(paths[name]).write_text("".join(json.dumps(row) + "\n" for row in made))
    for name in ("LABELS", "SHUFFLED"):
        paths[name] = str(folder / f"{name.lower()}.jsonl")
        Path(paths[name]).write_text("".join(json.dumps(row) + "\n" for row in labelled(name, rng)))
    return paths


def labelled(name: str, rng: random.Random) -> list[dict]:
    """Rows with one of three answers, which their prompt names, or of which it knows nothing."""
    names = ["a vector", "an error", "a string"]
    made = []
    for number in range(160):
        named = rng.choice(names)
        answer = named if name == "LABELS" else rng.choice(names)
        prompt = f"Function {number} returns {named}. What does it return?"
        made.append({"prompt": prompt, "completion": answer})
    return made


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data = odd_data(Path(scratch))
        cases = {name: case for name, case in every_case().items() if not names or name in names}
        runs = []
        for name, (fields, _, _) in cases.items():
            merged = {**COMMON, **fields}
            source = merged["data"]["source"]
            merged["data"] = {**merged["data"], "source": data.get(source, source)}
            runs.append(Run(name=name, recipe=make_recipe(merged, name)))
        stage({name: fault for name, (_, _, fault) in cases.items() if fault})
        train_study(Study(name="cases", runs=runs), Path(scratch) / "runs")
        HERE.mkdir(exist_ok=True)
        for name, (_, _, fault) in cases.items():
            lines = (Path(scratch) / "runs" / name / "events.jsonl").read_text().splitlines()
            events = [json.loads(line) for line in lines]
            if fault == "padded":
                written, form = [_console(event) for event in events], "log"
            else:
                written, form = [_short(event, fault) for event in events], "jsonl"
            text = "".join(f"{line}\n" for line in written if line)
            (HERE / f"{name}.{form}").write_text(text)


def every_case() -> dict:
    return {name: (fields, [], None) for name, fields in HEALTHY.items()} | BROKEN


def write_index() -> None:
    """What the doctor must say of each log; of a healthy run nothing but notes."""
    index = {
        name: {
            "healthy": name in HEALTHY,
            "expect": list(expected),  # a list of its own, or YAML would refer to another
            "batch_size": {**COMMON, **fields}["batch_size"],
        }
        for name, (fields, expected, _) in every_case().items()
    }
    (HERE / "index.yaml").write_text(yaml.safe_dump(index, sort_keys=False))


def _short(event: dict, fault: str | None) -> str:
    """The event without what no rule reads, figures to nine digits.

    `stripped` loses its gradient norms and evaluations, as some trainers' logs do.
    """
    for bulky in ("tasks", "phases", "mixture", "train_mixture"):
        event.pop(bulky, None)
    if fault == "stripped" and event["event"] == "eval":
        return ""
    if fault == "stripped":
        event.pop("grad_norm", None)
    return json.dumps(_rounded(event))


def _console(event: dict) -> str:
    """The event as another trainer prints it, with the tokens that padding makes."""
    if event["event"] == "train":
        figures = {
            "loss": event["loss"],
            "grad_norm": event["grad_norm"],
            "learning_rate": event["lr"],
            "mean_token_accuracy": event["token_accuracy"],
            "num_tokens": event["tokens"],
            "num_input_tokens_seen": PADDED[event["step"] - 1],
        }
    elif event["event"] == "eval":
        figures = {"eval_loss": event["loss"], "eval_mean_token_accuracy": event["token_accuracy"]}
    else:
        return ""
    return repr(_rounded({**figures, "epoch": event["epoch"], "step": event["step"]}))


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.9g}") if isinstance(value, float) else value


if __name__ == "__main__":
    if "--index" not in sys.argv:
        main(sys.argv[1:])
    write_index()
