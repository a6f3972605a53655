"""Whether ticks on a GPU give what they give on a CPU, and where their time goes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from paceline.config.recipe import Recipe
from paceline.model.adapter import Adapter
from paceline.model.base import Base, wrap_model
from paceline.model.quantization import default_dtype
from paceline.training.distributed import SINGLE_PROCESS
from paceline.training.micro_batches import MicroBatch, TokenSequence
from paceline.training.objective import Objective, StepLoss
from paceline.training.optimizer import make_optimizer, moments, restore
from paceline.training.step import StepItem, clip_and_step, forward_backward, reduce_gradients

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 8192,
}
_COMMON = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}
SHAPES = {
    "small": SMALL,
    "0.6B": _COMMON | {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28},
    "1.7B": _COMMON | {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28},
    "4B": _COMMON
    | {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
    },
}


def make_model(shape: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A random model of a shape; the same on every device."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cpu" if shape == "small" else device):
            model = Qwen3ForCausalLM(Qwen3Config(tie_word_embeddings=True, **SHAPES[shape]))
    finally:
        torch.set_default_dtype(before)
    return model.to(device)


def sequences(count: int, length: int, vocabulary: int, seed: int) -> list[TokenSequence]:
    """Random tokens of which the second half is supervised."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for example in range(count):
        ids = torch.randint(8, vocabulary, (length + 1,), generator=draw)
        labels = ids[1:].clone()
        labels[: length // 2] = -100
        found.append(TokenSequence(example, ids[:-1], labels, length - length // 2))
    return found


class Trainee:
    """One run over random tokens."""

    def __init__(self, base: Base, seed: int, **fields: Any) -> None:
        self.recipe = Recipe(base="random", data="random", lora_r=16, lora_alpha=32, seed=seed, **fields)
        self.base, self.adapter = base, base.new_adapter(self.recipe)
        draw = torch.Generator().manual_seed(seed)
        values = torch.empty(self.adapter.parameters.shape).normal_(std=0.02, generator=draw)
        self.adapter.parameters.copy_(values)
        self.optimizer = make_optimizer(self.recipe, self.adapter)
        nothing: Any = None
        self.objective, self.step = Objective(self.recipe, nothing), 0

    def items(self, micro_batches: list[MicroBatch]) -> tuple[StepLoss, list[StepItem]]:
        """A step over micro-batches, its gradient set to zero."""
        self.adapter.zero_gradients()
        loss, before, items = self.objective.begin(self.step, micro_batches), 0, []
        for number, part in enumerate(micro_batches):
            key = (self.recipe.seed, self.step, number, 2)
            items.append(
                StepItem(micro_batch=part, adapter=self.adapter, loss=loss, dropout_key=key, first_row=before)
            )
            before += part.tokens
        return loss, items


def take_steps(base: Base, trainees: list[Trainee], data: list[list[MicroBatch]]) -> list[float]:
    """A step of each run in one tick, read once; the losses."""
    begun = [trainee.items(own) for trainee, own in zip(trainees, data, strict=True)]
    forward_backward(base, [item for _, items in begun for item in items])
    reduced = [
        reduce_gradients(trainee.adapter, loss, SINGLE_PROCESS)
        for trainee, (loss, _) in zip(trainees, begun, strict=True)
    ]
    losses = []
    for trainee, (loss, _), own in zip(trainees, begun, torch.stack(reduced).cpu().tolist(), strict=True):
        loss.take(own[:-1])
        losses.append(loss.value)
        clip_and_step(trainee.adapter, trainee.optimizer, 1e-4, own[-1], 1.0)
        trainee.step += 1
    return losses


def check_device(device: torch.device, length: int = 300) -> dict[str, dict[str, Any]]:
    """What must hold, each with the figure and its bound; on sequences of `length` tokens."""
    kind = default_dtype(device)
    base = wrap_model(make_model("small", device, kind), "small")
    data = [
        [MicroBatch(sequences(3, length, 8192, 10 * run + part)) for part in range(3)] for run in range(5)
    ]
    plain = {"lora_dropout": 0.0}
    ours = _gradient(base, data[0], plain)
    cpu = torch.device("cpu")
    same = wrap_model(make_model("small", cpu, kind), "small")
    wide = wrap_model(make_model("small", cpu, torch.float32), "small")
    noise = _apart(_gradient(base, data[0], {}), _gradient(base, data[0], {}))
    together = [Trainee(base, seed) for seed in range(5)]
    take = [trainee.items(own)[1] for trainee, own in zip(together, data, strict=True)]
    forward_backward(base, [item for items in take for item in items])
    beside = _apart(together[0].adapter.gradients.cpu(), _gradient(base, data[0], {}))
    return {
        # of two roundings, where the line below has one
        f"gradients against {str(kind).removeprefix('torch.')} on the CPU": _bound(
            _apart(ours, _gradient(same, data[0], plain)), 0.045
        ),
        "gradients against fp32 on the CPU": _bound(_apart(ours, _gradient(wide, data[0], plain)), 0.03),
        "a run again": _bound(noise, 0.01),
        "together against alone": _bound(beside, max(0.01, 2 * noise)),
        "resumed against uninterrupted": _bound(_resumed(base, data[0]), max(1e-3, 2 * noise)),
        "a tick without a wait": _without_waits(base, data, device),
    }


def _bound(figure: float, most: float) -> dict[str, Any]:
    return {"figure": figure, "at most": most, "ok": figure <= most}


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _gradient(base: Base, data: list[MicroBatch], fields: dict[str, Any]) -> Tensor:
    trainee = Trainee(base, 0, **fields)
    forward_backward(base, trainee.items(data)[1])
    return trainee.adapter.gradients.cpu()


def _resumed(base: Base, data: list[MicroBatch]) -> float:
    """How far four steps with a restart after two are from four."""
    whole, first, second = (Trainee(base, 0) for _ in range(3))
    for _ in range(4):
        take_steps(base, [whole], [data])
    for _ in range(2):
        take_steps(base, [first], [data])
    second.adapter.parameters.copy_(first.adapter.parameters)
    restore(second.optimizer, {name: value.cpu() for name, value in moments(first.optimizer).items()})
    second.step = 2
    for _ in range(2):
        take_steps(base, [second], [data])
    adapters: list[Adapter] = [second.adapter, whole.adapter]
    return _apart(*(adapter.parameters.cpu() for adapter in adapters))


def _without_waits(base: Base, data: list[list[MicroBatch]], device: torch.device) -> dict[str, Any]:
    """A forward and backward of five runs under torch's own alarm."""
    trainees = [Trainee(base, seed) for seed in range(5)]
    items = [item for one, own in zip(trainees, data, strict=True) for item in one.items(own)[1]]
    torch.cuda.set_sync_debug_mode("error")
    try:
        forward_backward(base, items)
    except RuntimeError as error:
        return {"figure": str(error)[:300], "ok": False}
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"figure": 0, "ok": True}


def profile_tick(device: torch.device, shape: str, rows: int, length: int) -> dict[str, Any]:
    """Launches and the kernels that take longest in a tick of one run, of so many rows of so many tokens."""
    from torch.profiler import ProfilerActivity, profile

    base = wrap_model(make_model(shape, device, default_dtype(device)), shape)
    trainee, vocabulary = Trainee(base, 0, lora_dropout=0.05), SHAPES[shape]["vocab_size"]
    data = [MicroBatch(sequences(5, length, vocabulary, part)) for part in range(rows // 5)]
    take_steps(base, [trainee], [data])
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        take_steps(base, [trainee], [data])
        torch.cuda.synchronize()
    kernels = [
        event
        for event in profiled.key_averages()
        if event.device_type.name == "CUDA" and not event.is_user_annotation
    ]
    kernels.sort(key=lambda event: -event.self_device_time_total)
    return {
        "launches": sum(event.count for event in kernels),
        "milliseconds": sum(event.self_device_time_total for event in kernels) / 1000,
        "longest": [
            [event.key[:100], event.count, event.self_device_time_total / 1000] for event in kernels[:15]
        ],
    }
