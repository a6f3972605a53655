"""One run's LoRA weights as one flat buffer, and the way to and from PEFT's files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from paceline.config.recipe import Recipe
from paceline.errors import ModelError
from paceline.model.lora_weights import LinearGroup, LoRAWeights
from paceline.model.peft_config import write_peft_config

_PREFIX = "base_model.model."


class Adapter:
    """LoRA weights of one run over a base's groups of linears.

    `parameters` and `gradients` are flat fp32 buffers of the same length: a group after another, in each the
    A matrices of its targets one below the other, then their B matrices. `weights` are the views into them
    that the layers use, by group; `matrices` are each target's A (r, in) and B (out, r).
    """

    def __init__(
        self, recipe: Recipe, groups: Sequence[LinearGroup], targets: set[str], device: torch.device
    ) -> None:
        self.rank, self.scale, self.dropout = recipe.lora_r, recipe.lora_scale, recipe.lora_dropout
        size = adapter_size(recipe, groups, targets)
        self.parameters = torch.zeros(size, device=device)
        self.gradients = torch.zeros(size, device=device)
        self.weights: dict[int, LoRAWeights] = {}
        self.matrices: dict[str, tuple[Tensor, Tensor]] = {}
        self._taken = 0
        for group in groups:
            if chosen := [linear for linear, name in enumerate(group.names) if name in targets]:
                self._add_group(group, chosen)

    @property
    def names(self) -> list[str]:
        """The full names of the linears that the adapter changes."""
        return list(self.matrices)

    def _add_group(self, group: LinearGroup, targets: list[int]) -> None:
        rank = self.rank
        a, a_grad = self._take(len(targets) * rank, group.linears[0].in_features)
        pairs = [self._take(group.linears[target].out_features, rank) for target in targets]
        self.weights[group.index] = LoRAWeights(
            targets=targets,
            rank=rank,
            a=a,
            a_grad=a_grad,
            b=[b for b, _ in pairs],
            b_grad=[grad for _, grad in pairs],
        )
        for number, target in enumerate(targets):
            self.matrices[group.names[target]] = (a[number * rank : (number + 1) * rank], pairs[number][0])

    def _take(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """The next rows x columns elements of both buffers."""
        start, self._taken = self._taken, self._taken + rows * columns
        parameters, gradients = (
            buffer[start : self._taken].view(rows, columns) for buffer in (self.parameters, self.gradients)
        )
        return parameters, gradients

    def gradient_of(self, name: str) -> tuple[Tensor, Tensor]:
        """The gradients of a module's A and B, as views into the flat buffer."""
        a, b = (
            self.gradients[m.storage_offset() : m.storage_offset() + m.numel()].view(m.shape)
            for m in self.matrices[name]
        )
        return a, b

    def initialize(self, seed: int) -> None:
        """PEFT's start: A uniform as `kaiming_uniform_(a=sqrt(5))` draws it, B zero.

        A function of the seed and the module's name.
        """
        for name, (a, b) in self.matrices.items():
            state = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0] >> 1))
            bound = 1 / math.sqrt(a.shape[1])
            a.copy_(torch.empty(a.shape).uniform_(-bound, bound, generator=generator))
            b.zero_()

    def save(self, folder: Path, recipe: Recipe) -> None:
        """Writes `adapter_config.json` and `adapter_model.safetensors` as PEFT does."""
        folder.mkdir(parents=True, exist_ok=True)
        write_peft_config(folder, recipe)
        tensors = {}
        for name, (a, b) in self.matrices.items():
            tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.cpu().contiguous()
            tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.cpu().contiguous()
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Reads weights that PEFT or `save` wrote.

        Raises:
            ModelError: no weights there, or weights for other modules or of another rank.
        """
        path = folder / "adapter_model.safetensors"
        if not path.is_file():
            raise ModelError(
                f"{folder}: no adapter_model.safetensors there; expected an adapter in PEFT's format"
            )
        with safe_open(path, "pt") as stored:
            expected = {f"{_PREFIX}{name}.lora_{half}.weight" for name in self.matrices for half in "AB"}
            if odd := sorted(expected.symmetric_difference(stored.keys())):
                raise ModelError(f"{path}: does not fit this base and recipe; differing tensor: {odd[0]}")
            for name, pair in self.matrices.items():
                for half, matrix in zip("AB", pair, strict=True):
                    tensor = stored.get_tensor(f"{_PREFIX}{name}.lora_{half}.weight")
                    if tensor.shape != matrix.shape:
                        shapes = f"{tuple(tensor.shape)}, expected {tuple(matrix.shape)}"
                        raise ModelError(f"{path}: {name} lora_{half} is {shapes}")
                    matrix.copy_(tensor)


def adapter_size(recipe: Recipe, groups: Iterable[LinearGroup], targets: set[str]) -> int:
    """Parameters of an adapter, without making it."""
    linears = (pair for group in groups for pair in zip(group.names, group.linears, strict=True))
    widths = (linear.in_features + linear.out_features for name, linear in linears if name in targets)
    return recipe.lora_r * sum(widths)
