"""A recipe means what it means in TRL: the same losses, rates and norms, and the same adapter in PEFT."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from helpers import MakeBase, MakeRecipe, MakeStudy
from paceline.model.base import load_base
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.quantization import BaseFormat
from paceline.model.segment import Segment
from paceline.runs.events import TrainEvent, of_kind, read_events
from paceline.training.order import epoch_order
from paceline.training.prepare import Preparer
from paceline.training.study import train_study

pytestmark = pytest.mark.slow

STEPS = 20
RECIPES = {
    "cosine": dict(
        batch_size=4, grad_accum=2, lora_r=16, lora_alpha=32, lr_scheduler="cosine", warmup_ratio=0.1
    ),
    "linear-clipped": dict(
        batch_size=2,
        grad_accum=4,
        lora_r=8,
        lora_alpha=8,
        lr_scheduler="linear",
        warmup_steps=5,
        max_grad_norm=0.05,
        weight_decay=0.1,
    ),
    "restarts": dict(
        batch_size=8,
        grad_accum=1,
        lora_r=4,
        lora_alpha=16,
        lr_scheduler="cosine_with_restarts",
        num_cycles=2,
        warmup_ratio=0.2,
        use_rslora=True,
        max_grad_norm=0,
        target_modules=["q_proj", "v_proj", "down_proj"],
    ),
    "nf4-double": dict(batch_size=4, grad_accum=2, lora_r=8, quantize="nf4-double"),
    "fp4": dict(batch_size=4, grad_accum=2, lora_r=8, quantize="fp4", use_rslora=True),
    "int8": dict(
        batch_size=4,
        grad_accum=2,
        lora_r=8,
        quantize="int8",
        target_modules=["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    ),
}


def trl_log(recipe: Any, prepared: Any, adapter_folder: Path, out: Path) -> list[dict]:
    """The log of SFTTrainer on the same examples in the same order, from the same first adapter."""
    assert prepared.plan.steps_per_epoch >= STEPS
    cut = recipe.max_length
    rows = [
        prepared.dataset.example(i)
        for i in prepared.split.train[epoch_order(recipe.seed, 0, prepared.plan.examples)]
    ]
    labels = [np.where(mask[:cut] == 1, ids[:cut], -100).tolist() for ids, mask in rows]
    table = Dataset.from_dict({"input_ids": [ids[:cut].tolist() for ids, _ in rows], "labels": labels})
    quantization = BaseFormat.of(recipe).configuration(torch.device("cpu"))
    model = AutoModelForCausalLM.from_pretrained(
        recipe.base, dtype=torch.float32, quantization_config=quantization
    )
    if quantization:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model = PeftModel.from_pretrained(model, str(adapter_folder), is_trainable=True)
    warmup = recipe.warmup_steps if recipe.warmup_steps is not None else recipe.warmup_ratio
    config = SFTConfig(
        output_dir=str(out),
        max_steps=STEPS,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.grad_accum,
        learning_rate=recipe.lr,
        lr_scheduler_type=recipe.lr_scheduler,
        warmup_steps=warmup,
        max_grad_norm=recipe.max_grad_norm,
        lr_scheduler_kwargs={"num_cycles": recipe.num_cycles}
        if recipe.lr_scheduler == "cosine_with_restarts"
        else None,
        weight_decay=recipe.weight_decay,
        logging_steps=1,
        max_length=cut,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        train_sampling_strategy="sequential",
        save_strategy="no",
        dataset_kwargs={"skip_prepare_dataset": True},
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=table, processing_class=Preparer().chat(recipe.base).tokenizer
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # TRL rounds the adapters of a quantized base to bf16
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("name", RECIPES)
def test_every_step_equals_trl(name: str, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path) -> None:
    ours = recipe(max_steps=STEPS, lora_dropout=0, **RECIPES[name])
    prepared = Preparer().prepare(ours)
    start = load_base(ours.base).new_adapter(ours)
    start.initialize(ours.seed)
    start.save(tmp_path / "start", ours)

    theirs = trl_log(ours, prepared, tmp_path / "start", tmp_path / "trl")
    train_study(study(run=ours), tmp_path / "runs")
    events = of_kind(read_events(tmp_path / "runs" / "run" / "events.jsonl"), TrainEvent)

    assert len(events) == len(theirs) == STEPS
    slack = (
        10 if name in ("nf4-double", "fp4") else 1
    )  # bitsandbytes multiplies 4-bit weights in another order on some CPUs
    for mine, other in zip(events, theirs, strict=True):
        assert mine.loss == pytest.approx(other["loss"], abs=1e-4 * slack)
        assert mine.lr == pytest.approx(other["learning_rate"], rel=1e-12, abs=1e-18)
        assert mine.grad_norm == pytest.approx(other["grad_norm"], rel=1e-3 * slack)
    assert events[0].loss - events[-1].loss > 0.001, (
        "the recipe must move the loss, or the comparison shows nothing"
    )


def our_logits(base_folder: str, recipe: Any, adapter_folder: Path, ids: torch.Tensor) -> torch.Tensor:
    base = load_base(base_folder)
    adapter = base.new_adapter(recipe)
    adapter.load(adapter_folder)
    batch = pack_sequences([(ids, ids)], [Segment(0, len(ids), adapter)], base.device)
    with use_batch(batch), torch.no_grad():
        return base.hidden(batch) @ base.head.t()


def test_our_adapter_loads_in_peft(recipe: MakeRecipe, study: MakeStudy, tmp_path: Path) -> None:
    ours = recipe(max_steps=6, lora_r=8)
    train_study(study(run=ours), tmp_path)
    ids = torch.arange(10, 90)
    plain = AutoModelForCausalLM.from_pretrained(ours.base, dtype=torch.float32).eval()
    bare = plain(ids[None]).logits[0]
    peft = PeftModel.from_pretrained(plain, str(tmp_path / "run" / "adapter")).eval()
    with torch.no_grad():
        expected = peft(ids[None]).logits[0]
    assert (expected - bare).abs().max() > 1e-3
    torch.testing.assert_close(
        our_logits(ours.base, ours, tmp_path / "run" / "adapter", ids), expected, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2", "llama", "mistral"])
def test_an_adapter_of_peft_loads_in_ours(
    architecture: Any, tiny_base: MakeBase, recipe: MakeRecipe, tmp_path: Path
) -> None:
    ours = recipe(
        base=tiny_base(architecture), lora_r=4, target_modules=["q_proj", "o_proj", "up_proj", "down_proj"]
    )
    config = LoraConfig(
        r=4, lora_alpha=32, target_modules=ours.target_modules, init_lora_weights=False, task_type="CAUSAL_LM"
    )
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(ours.base, dtype=torch.float32), config).eval()
    peft.save_pretrained(tmp_path)
    ids = torch.arange(10, 90)
    with torch.no_grad():
        expected = peft(ids[None]).logits[0]
    torch.testing.assert_close(our_logits(ours.base, ours, tmp_path, ids), expected, atol=1e-5, rtol=0)
