"""One contender: `python -m paceline.bench.arms ARM SHAPE SECONDS`; its last line is tokens a second."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

LENGTH, TOKENS = 400, 16000


def paceline(shape: str, seconds: float, runs: int) -> float:
    """Ticks of 16,000 tokens, shared by all runs; half as many while memory does not do."""
    from paceline.bench.checks import SHAPES, Trainee, make_model, sequences, take_steps
    from paceline.model.base import wrap_model
    from paceline.model.memory import unless_out_of_memory
    from paceline.training.micro_batches import MicroBatch

    device = torch.device("cuda")
    base = wrap_model(make_model(shape, device, torch.bfloat16), shape)
    trainees = [Trainee(base, seed, lora_dropout=0.05) for seed in range(runs)]
    vocabulary, parts = SHAPES[shape]["vocab_size"], max(1, TOKENS // (5 * LENGTH * runs))
    while True:
        data = [
            [MicroBatch(sequences(5, LENGTH, vocabulary, 100 * run + part)) for part in range(parts)]
            for run in range(runs)
        ]

        def tick(data: list[list[MicroBatch]] = data) -> bool:
            take_steps(base, trainees, data)
            return True

        if unless_out_of_memory(lambda: tick() and tick(), device) is not None:
            return timed(tick, seconds) * runs * parts * 5 * LENGTH
        if parts == 1:
            raise SystemExit("out of memory")
        parts //= 2


def timed(tick: Callable[[], Any], seconds: float) -> float:
    """Ticks a second."""
    torch.cuda.synchronize()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        tick()
        count += 1
    torch.cuda.synchronize()
    return count / (time.perf_counter() - began)


def trl(shape: str, seconds: float, **options: Any) -> float:
    """SFTTrainer with PEFT over the same rows, warmed up by two steps."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

    from paceline.bench.checks import SHAPES, make_model, sequences

    model = make_model(shape, torch.device("cuda"), torch.bfloat16)
    rows = sequences(2000, LENGTH, SHAPES[shape]["vocab_size"], 0)
    data = Dataset.from_dict(
        {
            "input_ids": [row.inputs.tolist() for row in rows],
            "completion_mask": [[0] * (LENGTH // 2) + [1] * (LENGTH - LENGTH // 2)] * len(rows),
        }
    )

    class Watch(TrainerCallback):  # type: ignore[misc]
        began, steps = 0.0, 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            torch.cuda.synchronize()
            if state.global_step == 2:
                self.began, self.steps = time.perf_counter(), 0
            self.steps += 1
            control.should_training_stop = self.began > 0 and time.perf_counter() - self.began > seconds
            self.ended = time.perf_counter()

    watch, batch = Watch(), 8
    with tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(
            output_dir=scratch,
            per_device_train_batch_size=batch,
            max_length=LENGTH,
            bf16=True,
            gradient_checkpointing=False,
            max_steps=100000,
            logging_steps=10**6,
            save_strategy="no",
            report_to=[],
            **options,
        )
        lora = LoraConfig(
            r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        trainer = SFTTrainer(
            model,
            args=config,
            train_dataset=data,
            peft_config=lora,
            callbacks=[watch],
            processing_class=_tokenizer(PreTrainedTokenizerFast),
        )
        trainer.train()
    return (watch.steps - 1) * batch * LENGTH / (watch.ended - watch.began)


def _tokenizer(kind: Any) -> Any:
    """What the trainer asks for and, the rows being tokens, never uses."""
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return kind(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def unsloth(shape: str, seconds: float) -> float:
    """TRL with Unsloth's kernels patched in, where it is installed."""
    import unsloth  # type: ignore[import-not-found]  # noqa: F401

    return trl(shape, seconds, packing=True)


ARMS: dict[str, Callable[[str, float], float]] = {
    "paceline": lambda shape, seconds: paceline(shape, seconds, 1),
    "paceline-cohort": lambda shape, seconds: paceline(shape, seconds, 5),
    "trl-packing": lambda shape, seconds: trl(shape, seconds, packing=True),
    "trl-padding-free": lambda shape, seconds: trl(shape, seconds, padding_free=True),
    "trl-liger": lambda shape, seconds: trl(shape, seconds, packing=True, use_liger_kernel=True),
    "unsloth": unsloth,
}

if __name__ == "__main__":
    arm, size, length = sys.argv[1:]
    print(ARMS[arm](size, float(length)))
