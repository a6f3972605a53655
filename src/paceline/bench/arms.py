"""One part of the benchmark: `python -m paceline.bench.arms ARM SHAPE SECONDS`.

The last line that it prints is JSON: tokens a second of a contender, or what a check or a profile found.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# Tokens of a row, of which the second half is supervised, and of a step.
LENGTH, TOKENS = 400, 16000
# The folder where processes that run at once say that they are warm, and how many they are.
READY, COUNT = "PACELINE_BENCH_READY", "PACELINE_BENCH_COUNT"
_LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05}


def paceline(shape: str, seconds: float, runs: int) -> float:
    """Ticks shared by all runs, of the most tokens that memory holds."""
    from paceline.bench.checks import SHAPES, Trainee, sequences, take_steps
    from paceline.model.base import wrap_model
    from paceline.training.micro_batches import MicroBatch

    base = wrap_model(_model(shape), shape)
    trainees = [Trainee(base, seed, lora_dropout=0.05) for seed in range(runs)]

    def rate(rows: int) -> float:
        own = -(-rows // runs)
        data = [
            [
                MicroBatch(sequences(min(5, own - first), LENGTH, SHAPES[shape]["vocab_size"], run + first))
                for first in range(0, own, 5)
            ]
            for run in range(runs)
        ]
        return _ticks(lambda: take_steps(base, trainees, data), seconds) * runs * own * LENGTH

    return _in_memory(rate)


def _ticks(tick: Callable[[], Any], seconds: float) -> float:
    """Ticks a second, after two."""
    tick(), tick()
    _wait()
    _meet()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        tick()
        count += 1
    _wait()
    return count / (time.perf_counter() - began)


def _meet() -> None:
    """Waits until all processes that are timed at once are warm."""
    if READY not in os.environ:
        return
    folder = Path(os.environ[READY])
    (folder / f"{os.getpid()}.ready").touch()
    while len(list(folder.glob("*.ready"))) < int(os.environ[COUNT]):
        time.sleep(0.01)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _model(shape: str) -> Any:
    """What every contender trains: a random model on the device, in bf16 where the GPU has it."""
    from paceline.bench.checks import make_model
    from paceline.model.base import default_device
    from paceline.model.quantization import default_dtype

    device = default_device()
    return make_model(shape, device, default_dtype(device))


def _in_memory(rate: Callable[[int], float]) -> float:
    """The rate with as many rows in a step as make TOKENS; half as many while memory does not do."""
    from paceline.model.base import default_device
    from paceline.model.memory import unless_out_of_memory

    rows = TOKENS // LENGTH
    while rows:
        found = unless_out_of_memory(lambda rows=rows: rate(rows), default_device())  # type: ignore[misc]
        if found is not None:
            return found
        rows //= 2
    raise SystemExit("out of memory")


def trl(shape: str, seconds: float, way: str = "batch", liger: bool = False) -> float:
    """SFTTrainer with PEFT over the same rows.

    Args:
        way: `batch`: rows side by side; they are equally long, so nothing is padded. `packing` and
            `padding-free`: one row after another, which attention keeps apart.
        liger: with Liger's kernels.
    """
    from peft import LoraConfig
    from transformers.utils import is_flash_attn_2_available

    def rate(rows: int) -> float:
        model = _model(shape)
        if is_flash_attn_2_available():
            model.set_attn_implementation("flash_attention_2")
        lora = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **_LORA)
        return _sft(model, shape, seconds, rows, way, use_liger_kernel=liger, peft_config=lora)

    return _in_memory(rate)


def unsloth(shape: str, seconds: float) -> float:
    """Unsloth's own loading and adapters, trained by TRL as its documentation does."""
    from unsloth import FastLanguageModel  # type: ignore[import-not-found]  # first: it patches

    def rate(rows: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            made = _model(shape)
            made.save_pretrained(folder)
            _tokenizer().save_pretrained(folder)
            model, _ = FastLanguageModel.from_pretrained(
                folder, max_seq_length=LENGTH, dtype=made.dtype, load_in_4bit=False
            )
            kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
            model = FastLanguageModel.get_peft_model(
                model, target_modules=kinds, use_gradient_checkpointing=False, **_LORA
            )
            return _sft(model, shape, seconds, rows, "batch")

    return _in_memory(rate)


def _sft(
    model: Any, shape: str, seconds: float, rows: int, way: str, peft_config: Any = None, **options: Any
) -> float:
    """Tokens a second of SFTTrainer in steps of so many rows, after two."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

    from paceline.bench.checks import SHAPES, sequences

    many = sequences(2000, LENGTH, SHAPES[shape]["vocab_size"], 0)
    data = Dataset.from_dict(
        {
            "input_ids": [row.inputs.tolist() for row in many],
            "completion_mask": [[0] * (LENGTH // 2) + [1] * (LENGTH - LENGTH // 2)] * len(many),
        }
    )
    ways: dict[str, dict[str, Any]] = {
        "batch": {"per_device_train_batch_size": rows, "max_length": LENGTH},
        "packing": {"per_device_train_batch_size": 1, "max_length": rows * LENGTH, "packing": True},
        "padding-free": {"per_device_train_batch_size": rows, "max_length": None, "padding_free": True},
    }

    class Watch(TrainerCallback):  # type: ignore[misc]
        began, ended, steps = 0.0, 0.0, 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _wait()
            self.ended = time.perf_counter()
            if state.global_step == 2:
                _meet()
                self.began = time.perf_counter()
            elif state.global_step > 2:
                self.steps += 1
                control.should_training_stop = self.ended - self.began > seconds

    watch = Watch()
    with tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(
            output_dir=scratch,
            completion_only_loss=True,
            bf16=model.dtype == torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,
            max_steps=100000,
            logging_steps=10**6,
            save_strategy="no",
            report_to=[],
            **ways[way],
            **options,
        )
        trainer = SFTTrainer(
            model,
            args=config,
            train_dataset=data,
            peft_config=peft_config,
            callbacks=[watch],
            processing_class=_tokenizer(),
        )
        trainer.train()
    return watch.steps * rows * LENGTH / (watch.ended - watch.began)


def _tokenizer() -> Any:
    """What the trainer asks for and, the rows being tokens, never uses."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def check(shape: str, seconds: float) -> dict[str, Any]:
    """The GPU, and whether what must hold on it does."""
    from paceline.bench.checks import check_device
    from paceline.model.base import default_device

    device = default_device()
    return {
        "gpu": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "capability": torch.cuda.get_device_capability(device),
        "correctness": check_device(device),
    }


def profile(shape: str, seconds: float) -> dict[str, Any]:
    """Where the time of one tick goes."""
    from paceline.bench.checks import profile_tick
    from paceline.model.base import default_device

    return profile_tick(default_device(), shape, TOKENS // LENGTH, LENGTH)


ARMS: dict[str, Callable[[str, float], Any]] = {
    "check": check,
    "profile": profile,
    "paceline": lambda shape, seconds: paceline(shape, seconds, 1),
    "paceline-cohort": lambda shape, seconds: paceline(shape, seconds, 5),
    "trl": trl,
    "trl-packing": lambda shape, seconds: trl(shape, seconds, "packing"),
    "trl-padding-free": lambda shape, seconds: trl(shape, seconds, "padding-free"),
    "trl-liger": lambda shape, seconds: trl(shape, seconds, liger=True),
    "unsloth": unsloth,
}

if __name__ == "__main__":
    arm, size, length = sys.argv[1:]
    print(json.dumps(ARMS[arm](size, float(length))))
