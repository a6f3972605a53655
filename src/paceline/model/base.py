"""The frozen base: a plain transformers model whose linears, attention and loss are ours."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils.logging import disable_progress_bar

from paceline import embedded
from paceline.config.recipe import Recipe
from paceline.errors import ModelError
from paceline.model.adapter import Adapter, adapter_size
from paceline.model.allocator import keep_freed_memory
from paceline.model.batch import PackedBatch, Segment, pack_sequences, use_batch
from paceline.model.lora_weights import LinearGroup
from paceline.model.patches import Patches
from paceline.model.quantization import UNQUANTIZED, BaseFormat, default_dtype, dense_weight, is_quantized
from paceline.model.targets import Target, find_targets


@dataclass
class Base:
    """A frozen causal LM ready for packed batches.

    `groups` are its linears (the output projection apart) in the order of a forward pass; `head` is the
    output projection (vocabulary, hidden size).
    """

    name: str
    model: PreTrainedModel
    groups: list[LinearGroup]
    head: Tensor
    device: torch.device
    patches: Patches

    def hidden(self, batch: PackedBatch) -> Tensor:
        """Final hidden states (T, hidden size) of a packed batch, current until its backward is done.

        Only the rows of supervised positions mean anything (see `last_layer`).
        """
        out = self.model.base_model(input_ids=batch.input_ids, position_ids=batch.positions, use_cache=False)
        return out.last_hidden_state[0]  # type: ignore[no-any-return]

    def checkpoint_layers(self, on: bool) -> None:
        """Recompute each layer in the backward pass in place of keeping its activations.

        The result has the same bits.
        """
        self.patches.checkpoint_layers(on)

    @cached_property
    def weight_norms(self) -> dict[str, float]:
        """Frobenius norm of every linear's frozen weight."""
        linears = [pair for group in self.groups for pair in zip(group.names, group.linears, strict=True)]
        weights = ((name, dense_weight(linear, torch.float32).float()) for name, linear in linears)
        return {name: float(torch.linalg.vector_norm(weight)) for name, weight in weights}

    def new_adapter(self, recipe: Recipe) -> Adapter:
        """An adapter of zeros for a recipe's targets."""
        return Adapter(recipe, self.groups, self.targets(recipe), self.device)

    def adapter_size(self, recipe: Recipe) -> int:
        """Parameters of a recipe's adapter."""
        return adapter_size(recipe, self.groups, self.targets(recipe))

    def targets(self, recipe: Recipe) -> dict[str, Target]:
        """The linears that a recipe's adapter changes, by full name; see `find_targets`."""
        return find_targets(recipe, [name for group in self.groups for name in group.names], self.name)


def base_path(name: str) -> str:
    """`embedded` stands for the base that the package carries."""
    return str(embedded.BASE) if name == "embedded" else name


def read_config(name: str) -> Any:
    """The base's configuration.

    Raises:
        ModelError: not there, or no causal language model.
    """
    path = base_path(name)
    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        kind = "folder" if Path(path).exists() else "hub id (or folder; no such folder here)"
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"base {name!r}: no model configuration can be read from this {kind}: {reason}"
        ) from error
    declared = config.architectures or []
    generates = not declared or any("CausalLM" in kind or "LMHead" in kind for kind in declared)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not generates:
        kind = ", ".join(declared) or config.model_type
        raise ModelError(
            f"base {name!r} is a {kind}, not a causal language model; Paceline fine-tunes decoders"
        )
    return config


def default_device() -> torch.device:
    """Where a base is loaded unless something else is asked for."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_base(name: str, device: torch.device | None = None, base_format: BaseFormat = UNQUANTIZED) -> Base:
    """Loads a base frozen, in bf16 on a GPU and fp32 on a CPU, or quantized, and patches it.

    Raises:
        ModelError: not found, not a causal LM, or a model whose logits are not `hidden x head` (a soft
            cap or a scale after the projection).
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
        reason = str(error).splitlines()[0]
        raise ModelError(f"base {name!r}: its weights cannot be loaded: {reason}") from error
    return wrap_model(model, name)


def wrap_model(model: PreTrainedModel, name: str) -> Base:
    """Freezes a loaded model and patches our linears, norms and attention into it.

    Raises:
        ModelError: as `load_base`; the model is then as it came, but frozen.
    """
    model.requires_grad_(False)
    model.eval()
    for module in model.modules():
        if is_quantized(module):
            module.train()  # bitsandbytes repacks or requantizes weights in its inference mode
    device = next(model.parameters()).device
    head = model.get_output_embeddings()
    patches = Patches(model)
    try:
        patches.install_attention()
        groups = _find_groups(model, head, device)
        patches.install(groups)
        base = Base(name, model, groups, head.weight, device, patches)
        _check_head(base)
    except BaseException:
        patches.remove()
        raise
    return base


def _example_batch(device: torch.device) -> PackedBatch:
    ids = torch.arange(8, 40)
    return pack_sequences([(ids, ids)], [Segment(0, 32, None)], device)


@torch.no_grad()
def _find_groups(model: PreTrainedModel, head: nn.Module, device: torch.device) -> list[LinearGroup]:
    """Watches one forward: linears called one after another with the very same tensor are a group."""
    calls: list[tuple[str, nn.Linear, Tensor]] = []

    def watch(name: str) -> Any:
        return lambda module, inputs: calls.append((name, module, inputs[0]))

    linears = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head]
    handles = [linear.register_forward_pre_hook(watch(name)) for name, linear in linears]
    batch = _example_batch(device)
    try:
        with use_batch(batch):
            model.base_model(input_ids=batch.input_ids, position_ids=batch.positions, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    groups: list[list[tuple[str, nn.Linear, Tensor]]] = []
    for call in calls:
        if groups and groups[-1][0][2] is call[2]:
            groups[-1].append(call)
        else:
            groups.append([call])
    return [
        LinearGroup(index, tuple(name for name, _, _ in members), tuple(linear for _, linear, _ in members))
        for index, members in enumerate(groups)
    ]


@torch.no_grad()
def _check_head(base: Base) -> None:
    """Refuses a model whose logits are more than the hidden states times the output projection."""
    batch = _example_batch(base.device)
    with use_batch(batch):
        logits = base.model(input_ids=batch.input_ids, position_ids=batch.positions, use_cache=False).logits[
            0
        ]
        ours = base.hidden(batch) @ base.head.t()
    if not torch.allclose(logits.float(), ours.float(), atol=1e-2, rtol=1e-2):
        raise ModelError(
            f"base {base.name!r}: its logits are not a plain product of hidden states and output projection "
            "(a soft cap, scale or bias follows); not supported"
        )
