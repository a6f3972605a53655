"""The frozen base: a plain transformers model whose linears, attention and loss are ours."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils.logging import disable_progress_bar

from paceline.config.base_names import base_path
from paceline.config.recipe import Recipe
from paceline.data.chat import load_tokenizer, token_ids
from paceline.errors import ModelError
from paceline.model.adapter import Adapter, adapter_size
from paceline.model.allocator import grow_segments, keep_freed_memory
from paceline.model.batch import PackedBatch, pack_sequences, use_batch
from paceline.model.ends import find_ends, has_tied_ends
from paceline.model.families import has_own_rows
from paceline.model.lora_weights import LinearGroup
from paceline.model.memory import free_bytes, unless_out_of_memory
from paceline.model.new_tokens import add_token_rows
from paceline.model.patches import Patches
from paceline.model.probe import plain_logits, probe, refuse_unknown_layers
from paceline.model.quantization import UNQUANTIZED, BaseFormat, dense_weight, is_quantized
from paceline.model.segment import Segment
from paceline.model.targets import Target, find_targets
from paceline.model.token_rows import find_token_rows
from paceline.model.weight_files import fetch_weights

T = TypeVar("T")


@dataclass
class Base:
    """A frozen causal LM ready for packed batches.

    `groups` are its linears (the output projection apart) in the order of a forward pass; `head` is the
    output projection (vocabulary, hidden size), with a bias as one more column, filled up with zeros. `scale`
    is the factor of the logits. `longest` is what a sequence may have where rotary frequencies depend on it.
    `new_ids` are the tokens that were added to it. `sharded`: its layers are spread over all processes.
    """

    name: str
    model: PreTrainedModel
    groups: list[LinearGroup]
    head: Tensor
    device: torch.device
    patches: Patches
    scale: float = 1.0
    longest: int | None = None
    new_ids: tuple[int, ...] = ()
    sharded: bool = False

    @cached_property
    def ends(self) -> list[LinearGroup]:
        """Output projection and embeddings, as far as adapters can be on them."""
        return find_ends(self.model)

    @property
    def tied(self) -> bool:
        """Whether embeddings and output projection are one weight."""
        return has_tied_ends(self.model)

    @cached_property
    def repeats_answers(self) -> bool:
        """Whether an answer has the same bits whatever is answered beside it.

        So it is on a CPU in fp32, of families that are known for it: one adapter's sequences are one segment,
        whose products in half precision, or with weights in int8, depend on how many rows it has.
        """
        stored = any(is_quantized(module) for module in self.model.modules())
        exact = self.device.type == "cpu" and self.head.dtype == torch.float32 and not stored
        return exact and self._own_rows

    @cached_property
    def _own_rows(self) -> bool:
        return has_own_rows(self.model)

    @property
    def runs_share_forwards(self) -> bool:
        """Whether a forward may hold several micro-batches.

        Not of a sharded base, whose forwards all processes do together; nor on a CPU where one's bits may
        depend on those beside it. (On a GPU sums do not repeat to the bit anyway.)
        """
        return not self.sharded and (self.device.type != "cpu" or self._own_rows)

    def hidden(self, batch: PackedBatch) -> Tensor:
        """Final hidden states (T, columns of `head`) of a packed batch, current until its backward is done.

        Times `head` they are the logits: a scale is in them, and ones stand in the column of a bias.
        Only the rows of supervised positions mean anything (see `last_layer`).

        Raises:
            ModelError: a sequence beyond `longest`.
        """
        if self.longest is not None and batch.reach > self.longest:
            raise ModelError(
                f"base {self.name!r}: beyond {self.longest} tokens the rotary frequencies of one sequence "
                "change with the longest in the batch; lower max_length or max_tokens"
            )
        out = self.model.base_model(input_ids=batch.input_ids, position_ids=batch.positions, use_cache=False)
        hidden: Tensor = out.last_hidden_state[0]
        if self.scale != 1.0:
            hidden = hidden * self.scale
        if (more := self.head.shape[1] - hidden.shape[1]) > 0:
            hidden = pad(pad(hidden, (0, 1), value=1.0), (0, more - 1))
        return hidden

    def unless_out_of_memory(self, work: Callable[[], T]) -> T | None:
        """What `work` returns; None where the device's memory did not do, which is then free again.

        Raises:
            ModelError: out of memory with a sharded base: other processes wait in the same forward.
        """
        done = unless_out_of_memory(work, self.device)
        if done is None and self.sharded:
            raise ModelError(
                "out of memory in this process, and with --shard-base no process can go on with smaller "
                "forwards than the others; lower max_length, or spread the base over more GPUs"
            )
        return done

    def free_bytes(self) -> int:
        """The memory of the device that nothing holds; of a sharded base's, what each of them has."""
        free = free_bytes(self.device)
        if not self.sharded:
            return free
        least = torch.tensor(free, device=self.device)
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return int(least)

    def checkpoint_layers(self, on: bool) -> None:
        """Recompute each layer in the backward pass in place of keeping its activations.

        The result has the same bits.
        """
        self.patches.checkpoint_layers(on)

    @cached_property
    def weight_norms(self) -> dict[str, float]:
        """Frobenius norm of every linear's frozen weight."""
        linears = [pair for group in self._all for pair in zip(group.names, group.linears, strict=True)]
        weights = ((name, dense_weight(linear, torch.float32).float()) for name, linear in linears)
        return {name: float(torch.linalg.vector_norm(weight)) for name, weight in weights}

    def new_adapter(self, recipe: Recipe) -> Adapter:
        """An adapter of zeros for a recipe's targets."""
        rows = self.token_rows(recipe)
        return Adapter(recipe, self._all, self.targets(recipe), self.device, rows, self.tied)

    def adapter_size(self, recipe: Recipe) -> int:
        """Parameters of a recipe's adapter."""
        return adapter_size(recipe, self._all, self.targets(recipe), self.token_rows(recipe))

    def targets(self, recipe: Recipe) -> dict[str, Target]:
        """The linears that a recipe's adapter changes, by full name; see `find_targets`."""
        layers = [name for group in self.groups for name in group.names]
        return find_targets(recipe, layers, self.name, [name for group in self.ends for name in group.names])

    def token_rows(self, recipe: Recipe) -> dict[int, list[int] | None]:
        """The tokens whose rows a recipe trains whole, by end; see `find_token_rows`."""
        return find_token_rows(recipe, self.ends, self.tied, self.name, self.new_ids)

    def ends_size(self, recipe: Recipe) -> int:
        """Those of a recipe's parameters that are LoRA on output projection and embeddings, or copies."""
        copies = {end: ids for end, ids in self.token_rows(recipe).items() if ids is None}
        return adapter_size(recipe, self.ends, self.targets(recipe), copies)

    @property
    def _all(self) -> list[LinearGroup]:
        return [*self.groups, *self.ends]


def read_config(name: str) -> Any:
    """The base's configuration.

    Raises:
        ModelError: not there, or no causal language model.
    """
    path = base_path(name)
    try:
        config = AutoConfig.from_pretrained(path)
    except Exception as error:  # what a damaged file makes transformers raise is of many kinds
        kind = "folder" if Path(path).exists() else "hub id (or folder; no such folder here)"
        reason = _reason(error)
        raise ModelError(
            f"base {name!r}: no model configuration can be read from this {kind}: {reason}"
        ) from error
    declared = config.architectures or []
    generates = not declared or any(
        part in kind for kind in declared for part in ("CausalLM", "LMHead", "ForConditionalGeneration")
    )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not generates:
        kind = ", ".join(declared) or config.model_type
        raise ModelError(
            f"base {name!r} is a {kind}, not a causal language model; Paceline fine-tunes decoders"
        )
    return config


def _reason(error: Exception) -> str:
    """The first line of an error that says anything."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def default_device() -> torch.device:
    """Where a base is loaded unless something else is asked for: this process's own GPU, if it has one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    grow_segments()
    # with its number: transformers loads in threads, where another GPU is current
    return torch.device("cuda", torch.cuda.current_device())


def load_base(name: str, device: torch.device | None = None, base_format: BaseFormat = UNQUANTIZED) -> Base:
    """Loads a base frozen, in the type of its format, or quantized, with new tokens, and patches it.

    Raises:
        DataError: a token that is not new.
        ModelError: not found, not a causal LM, or a model that packed does not compute what it does alone
            (see `probe`).
    """
    device, path = device or default_device(), base_path(name)
    read_config(name)
    folder = fetch_weights(path)
    if device.type == "cpu":
        keep_freed_memory()
    else:
        gc.collect()  # a base that was let go of holds its memory until then
    logging.getLogger("transformers").setLevel(logging.ERROR)
    disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=base_format.weights_dtype(device),
            device_map={"": device},
            quantization_config=base_format.configuration(device),
        )
    except Exception as error:  # what a damaged file makes transformers raise is of many kinds
        raise ModelError(f"base {name!r}: its weights cannot be loaded: {_reason(error)}") from error
    tokens = base_format.new_tokens
    new_ids = token_ids(load_tokenizer(name, tokens), tokens) if tokens else []
    add_token_rows(model, new_ids)
    return replace(wrap_model(model, name), new_ids=tuple(new_ids))


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
    refuse_unknown_layers(name, model)
    patches = Patches(model)
    try:
        plain = plain_logits(model, device)
        patches.install_attention()
        groups = _find_groups(model, model.get_output_embeddings(), device)
        patches.install(groups)
        head, longest = _head(model), _longest(model)
        base = Base(name, model, groups, head, device, patches, _logit_scale(model), longest)
        probe(name, model, base.hidden, lambda hidden: hidden @ head.t(), plain, device)
    except ModelError:
        patches.remove()
        raise
    except Exception as error:
        patches.remove()
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"base {name!r} ({model.config.model_type}) does not run in a packed batch: "
            f"{type(error).__name__}: {reason}; not supported"
        ) from error
    except BaseException:
        patches.remove()
        raise
    return base


def _head(model: PreTrainedModel) -> Tensor:
    """The output projection; a bias is one more column, and zeros fill up to a multiple of 16."""
    head: Any = model.get_output_embeddings()
    if head.bias is None:
        return head.weight  # type: ignore[no-any-return]
    filler = head.weight.new_zeros(len(head.weight), 15 - head.weight.shape[1] % 16)
    return torch.cat([head.weight, head.bias[:, None], filler], dim=1).detach()


def _logit_scale(model: PreTrainedModel) -> float:
    """The factor of the logits after the projection (Cohere multiplies, Granite divides).

    The probe compares the logits, so that a wrong reading is refused.
    """
    config = model.config.get_text_config()
    if "cohere" in config.model_type:
        return float(config.logit_scale)
    if "granite" in config.model_type:
        return 1 / float(config.logits_scaling)
    return 1.0


def _longest(model: PreTrainedModel) -> int | None:
    """Up to where rotary frequencies do not depend on the longest sequence; None: everywhere."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    changing = [kind for kind in kinds if kind.get("rope_type") in ("dynamic", "longrope")]
    if not changing:
        return None
    limits = [kind.get("original_max_position_embeddings") for kind in changing]
    own = getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings
    return min(int(limit or own) for limit in limits)


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
    if not groups:
        raise ModelError(f"base of {model.config.model_type} layers: no linear to adapt; not supported")
    return [
        LinearGroup(index, tuple(name for name, _, _ in members), tuple(linear for _, linear, _ in members))
        for index, members in enumerate(groups)
    ]
