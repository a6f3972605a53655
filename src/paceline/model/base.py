"""The frozen base: a plain transformers model whose linears, attention and loss are ours."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils.logging import disable_progress_bar

from paceline import embedded
from paceline.config.recipe import Recipe
from paceline.errors import ModelError, nearest
from paceline.model import attention
from paceline.model.adapter import Adapter
from paceline.model.allocator import keep_freed_memory
from paceline.model.batch import PackedBatch, Segment, current_batch, pack_sequences, use_batch
from paceline.model.last_layer import skip_unread_rows
from paceline.model.lora import GroupLinear, LinearGroup
from paceline.model.norm import fuse_norms
from paceline.model.quantization import UNQUANTIZED, BaseFormat, default_dtype, dense_weight, is_quantized


@dataclass
class Base:
    """A frozen causal LM ready for flat batches.

    `groups` are its linears (the output projection apart) in the order of a forward pass; `head` is the output projection (vocabulary, hidden).
    """

    name: str
    model: PreTrainedModel
    groups: list[LinearGroup]
    head: Tensor
    device: torch.device

    def hidden(self, batch: PackedBatch) -> Tensor:
        """Final hidden states (T, hidden size) of a flat batch, which must be current (`using`) during this and its backward.

        Only the rows of supervised positions mean anything (see `trim`).
        """
        out = self.model.base_model(input_ids=batch.input_ids, position_ids=batch.positions, use_cache=False)
        return out.last_hidden_state[0]  # type: ignore[no-any-return]

    def checkpoint_layers(self, wanted: bool) -> None:
        """Recompute each layer in the backward pass instead of keeping its activations. The result has the same bits."""
        layers = getattr(self.model.base_model, "layers", None)
        for layer in layers if isinstance(layers, nn.ModuleList) else ():
            layer.__dict__.pop("forward", None)
            if wanted:
                layer.forward = partial(
                    checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
                )

    @cached_property
    def weight_norms(self) -> dict[str, float]:
        """Frobenius norm of every linear's frozen weight."""
        pairs = [pair for group in self.groups for pair in zip(group.names, group.linears, strict=True)]
        return {
            name: float(torch.linalg.vector_norm(dense_weight(linear, torch.float32).float()))
            for name, linear in pairs
        }

    def new_adapter(self, recipe: Recipe) -> Adapter:
        """An adapter of zeros for a recipe's targets."""
        return Adapter(recipe, self.groups, self.targets(recipe.target_modules), self.device)

    def targets(self, wanted: list[str] | str) -> set[str]:
        """The full names of the linears that `target_modules` names, matched as PEFT does: last parts, or one full-match expression."""
        names = [name for group in self.groups for name in group.names]
        if isinstance(wanted, str):
            found = {name for name in names if re.fullmatch(wanted, name)}
            if not found:
                raise ModelError(
                    f"target_modules: the expression {wanted!r} matches no linear of {self.name}; there are {_kinds(names)}"
                )
            return found
        found = set()
        for target in wanted:
            matches = {name for name in names if name == target or name.endswith("." + target)}
            if not matches:
                raise ModelError(
                    f"target_modules: no linear {target!r} in {self.name}{nearest(target, _kinds(names))}; there are {', '.join(_kinds(names))}"
                )
            found |= matches
        return found


def _kinds(names: list[str]) -> list[str]:
    return sorted({name.rsplit(".", 1)[-1] for name in names})


def base_path(name: str) -> str:
    """`embedded` stands for the base that the package carries."""
    return str(embedded.BASE) if name == "embedded" else name


def read_config(name: str) -> Any:
    """The base's configuration; refuses what is not there and what is no causal LM."""
    path = base_path(name)
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        kind = "folder" if Path(path).exists() else "hub id (or folder; no such folder here)"
        raise ModelError(
            f"base {name!r}: no model configuration can be read from this {kind}: {str(error).splitlines()[0]}"
        ) from error
    named = config.architectures or []
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or (
        named and not any("CausalLM" in n or "LMHead" in n for n in named)
    ):
        raise ModelError(
            f"base {name!r} is a {', '.join(named) or config.model_type}, not a causal language model; Paceline fine-tunes decoders"
        )
    return config


def default_device() -> torch.device:
    """Where a base is loaded unless something else is asked for."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_base(name: str, device: torch.device | None = None, base_format: BaseFormat = UNQUANTIZED) -> Base:
    """Loads a base frozen, in bf16 on a GPU and fp32 on a CPU, or quantized, and hooks it up.

    Raises:
        ModelError: not found, not a causal LM, or a model whose logits are not `hidden x head` (a soft cap or scale after the projection).
    """
    device = device or default_device()
    read_config(name)
    if device.type == "cpu":
        keep_freed_memory()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base_path(name),
            dtype=default_dtype(device),
            device_map={"": device},
            quantization_config=base_format.configuration(device),
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"base {name!r}: its weights cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    return wrap_model(model, name)


def wrap_model(model: PreTrainedModel, name: str) -> Base:
    """Freezes a loaded model and hooks our linears into it."""
    model.requires_grad_(False)
    model.eval()
    attention.register()
    model.set_attn_implementation(attention.NAME)
    for module in model.modules():
        if is_quantized(module):
            module.train()  # bitsandbytes repacks or requantizes weights in its inference mode
    device = next(model.parameters()).device
    head = model.get_output_embeddings()
    fuse_norms(model)
    groups = _find_groups(model, head, device)
    for group in groups:
        _hook(group)
    skip_unread_rows(model)
    base = Base(name, model, groups, head.weight, device)
    _check_head(base)
    return base


def _probe(device: torch.device) -> PackedBatch:
    ids = torch.arange(8, 40)
    return pack_sequences([(ids, ids)], [Segment(0, 32, None)], device)


@torch.no_grad()
def _find_groups(model: PreTrainedModel, head: nn.Module, device: torch.device) -> list[LinearGroup]:
    """Watches one forward: linears called one after another with the very same tensor are a group."""
    seen: list[tuple[str, nn.Linear, Tensor]] = []

    def watch(name: str) -> Any:
        return lambda module, inputs: seen.append((name, module, inputs[0]))

    linears = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head]
    handles = [linear.register_forward_pre_hook(watch(name)) for name, linear in linears]
    batch = _probe(device)
    with use_batch(batch):
        model.base_model(input_ids=batch.input_ids, position_ids=batch.positions, use_cache=False)
    for handle in handles:
        handle.remove()
    groups: list[list[tuple[str, nn.Linear, Tensor]]] = []
    for entry in seen:
        if groups and groups[-1][0][2] is entry[2]:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return [
        LinearGroup(i, tuple(name for name, _, _ in members), tuple(linear for _, linear, _ in members))
        for i, members in enumerate(groups)
    ]


def _hook(group: LinearGroup) -> None:
    """The first linear of a group computes all its outputs; the others hand out what it left for them."""
    ready: dict[int, Tensor] = {}
    grad_sentinel = torch.zeros(0, requires_grad=True)

    def first(x: Tensor) -> Tensor:
        batch = current_batch()
        if batch is None:
            return type(group.linears[0]).forward(group.linears[0], x)
        outs: tuple[Tensor, ...] = GroupLinear.apply(x, grad_sentinel, group, batch)  # type: ignore[no-untyped-call]
        ready.update(enumerate(outs))
        return ready.pop(0)

    def later(place: int, x: Tensor) -> Tensor:
        return (
            ready.pop(place)
            if place in ready
            else type(group.linears[place]).forward(group.linears[place], x)
        )

    group.linears[0].forward = first  # type: ignore[method-assign, assignment]
    for place in range(1, len(group.linears)):
        group.linears[place].forward = partial(later, place)  # type: ignore[method-assign]


@torch.no_grad()
def _check_head(base: Base) -> None:
    """Refuses a model whose logits are more than the hidden states times the output projection."""
    batch = _probe(base.device)
    with use_batch(batch):
        logits = base.model(input_ids=batch.input_ids, position_ids=batch.positions, use_cache=False).logits[
            0
        ]
        ours = base.hidden(batch) @ base.head.t()
    if not torch.allclose(logits.float(), ours.float(), atol=1e-2, rtol=1e-2):
        raise ModelError(
            f"base {base.name!r}: its logits are not a plain product of hidden states and output projection (a soft cap, scale or bias follows); not supported"
        )
