"""One run's LoRA weights as one flat buffer, and the way to and from PEFT's files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from paceline.config.recipe import Recipe
from paceline.errors import ModelError
from paceline.model.lora import LinearGroup, LoRAWeights

_PREFIX = "base_model.model."


class Adapter:
    """LoRA weights of one run over a base's groups.

    `parameters` and `gradients` are flat fp32 buffers of the same length: a group after another, in each the A matrices of its
    targets one below the other, then their B matrices. `parts` are the views into them that the layers use.
    """

    def __init__(
        self, recipe: Recipe, groups: list[LinearGroup], targets: set[str], device: torch.device
    ) -> None:
        self.rank, self.scale, self.dropout = recipe.lora_r, recipe.lora_scale, recipe.lora_dropout
        self.names = [name for group in groups for name in group.names if name in targets]
        size = sum(self.rank * (linear.in_features + linear.out_features)
                   for group in groups for name, linear in zip(group.names, group.linears, strict=True) if name in targets)  # fmt: skip
        self.parameters = torch.zeros(size, device=device)
        self.gradients = torch.zeros(size, device=device)
        self.parts: dict[int, LoRAWeights] = {}
        self.matrices: dict[str, tuple[Tensor, Tensor]] = {}
        offset = 0
        for group in groups:
            offset = self._lay_out(
                group, [i for i, name in enumerate(group.names) if name in targets], offset
            )

    def _lay_out(self, group: LinearGroup, places: list[int], offset: int) -> int:
        if not places:
            return offset
        rank, width = self.rank, group.linears[0].in_features

        def take(rows: int, columns: int) -> tuple[Tensor, Tensor]:
            nonlocal offset
            start, offset = offset, offset + rows * columns
            return tuple(flat[start:offset].view(rows, columns) for flat in (self.parameters, self.gradients))  # type: ignore[return-value]

        a, a_grad = take(len(places) * rank, width)
        pairs = [take(group.linears[place].out_features, rank) for place in places]
        self.parts[group.index] = LoRAWeights(
            places, rank, a, a_grad, [b for b, _ in pairs], [grad for _, grad in pairs]
        )
        for number, place in enumerate(places):
            self.matrices[group.names[place]] = (a[number * rank : (number + 1) * rank], pairs[number][0])
        return offset

    def gradient_of(self, name: str) -> tuple[Tensor, Tensor]:
        """The gradients of a module's A and B, as views into the flat buffer."""
        found = (
            self.gradients[m.storage_offset() : m.storage_offset() + m.numel()].view(m.shape)
            for m in self.matrices[name]
        )
        return next(found), next(found)

    def initialize(self, seed: int) -> None:
        """PEFT's start: A uniform as `kaiming_uniform_(a=sqrt(5))` draws it, B zero. A function of the seed and the module's name."""
        for name, (a, b) in self.matrices.items():
            state = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0] >> 1))
            a.copy_(
                torch.empty(a.shape).uniform_(
                    -1 / math.sqrt(a.shape[1]), 1 / math.sqrt(a.shape[1]), generator=generator
                )
            )
            b.zero_()

    def save(self, folder: Path, recipe: Recipe) -> None:
        """Writes `adapter_config.json` and `adapter_model.safetensors` as PEFT does."""
        folder.mkdir(parents=True, exist_ok=True)
        # The file alone: importing PEFT brings bitsandbytes and with it torch's compiler, several seconds of every start
        config = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": recipe.base, "inference_mode": True, "r": recipe.lora_r,
            "lora_alpha": recipe.lora_alpha, "lora_dropout": recipe.lora_dropout, "use_rslora": recipe.use_rslora, "target_modules": recipe.target_modules,
            "bias": "none", "fan_in_fan_out": False, "init_lora_weights": True,
        }  # fmt: skip
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
        tensors = {}
        for name, (a, b) in self.matrices.items():
            tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.cpu().contiguous()
            tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.cpu().contiguous()
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Reads weights that PEFT or `save` wrote; refuses weights for other modules or of another rank."""
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
                        raise ModelError(
                            f"{path}: {name} lora_{half} is {tuple(tensor.shape)}, expected {tuple(matrix.shape)}"
                        )
                    matrix.copy_(tensor)


def read_adapter_recipe(folder: Path) -> dict[str, object]:
    """The recipe fields that an adapter's `adapter_config.json` fixes: base, rank, alpha, dropout, targets."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as an adapter's configuration ({error})") from error
    return {
        "base": config["base_model_name_or_path"], "lora_r": config["r"], "lora_alpha": config["lora_alpha"],
        "lora_dropout": config.get("lora_dropout", 0.0), "use_rslora": config.get("use_rslora", False), "target_modules": config["target_modules"],
    }  # fmt: skip
