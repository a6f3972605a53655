"""The adapter on its base: what the loss reaches, precision and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.config.fields import Fields
from paceline.doctor.finding import Finding

if TYPE_CHECKING:
    from paceline.doctor.preflight import Preflight


def nothing_reached(subject: Preflight) -> Finding | None:
    """The loss does not reach some modules: the gradient of their B stays exactly zero, and they never learn.

    Computed: two optimizer steps on the real base with real rows; B's gradient after each. Rounding makes
    small gradients, never zeros.
    Try: remove the modules from target_modules; use a base that is not quantized, or labels that are not
    all masked.
    Source: the QLoRA post-mortem (grad_norm 0.0 throughout); the teaching guide's first common issue.
    """
    names = subject.unreached
    if not names:
        return None
    kinds = sorted({name.rsplit(".", 1)[-1] for name in names})
    return Finding(
        severity="error",
        message=f"the loss does not reach {len(names)} modules ({', '.join(kinds)}; first {names[0]})",
        evidence={"modules": len(names)},
        fix={"quantize": "none"} if subject.recipe.quantize != "none" else {},
        advice="take them out of target_modules",
    )


def adapts_the_ends(subject: Preflight) -> Finding | None:
    """Adapters on embeddings or output projection, or whole copies of them: many parameters for little.

    Computed: the share of the trained parameters that are on them; whether the two are one weight in the
    base (then they are pulled apart, and nothing can be merged); whether the base is quantized.
    Try: take embed_tokens and lm_head out of target_modules and modules_to_save; they are needed only for a
    new alphabet or new control tokens (new_tokens).
    Source: the QLoRA post-mortem, whose third remedy removes embed_tokens and lm_head from the targets.
    """
    recipe, share = subject.recipe, subject.ends_share
    if share == 0:
        return None
    copied = recipe.modules_to_save is not None
    message = f"{share:.0%} of the trained parameters are on embeddings or output projection"
    if copied:
        message += f", whole copies that train at the adapter's rate of {recipe.lr:g}"
    if subject.tied:
        message += ", which are one weight in this base: the adapters pull them apart and cannot be merged"
    if recipe.quantize != "none":
        message += f"; under them lies a base stored as {recipe.quantize}"
    return Finding(
        severity="warning",
        message=message,
        evidence={"share": round(share, 3), "tied": subject.tied},
        fix={"modules_to_save": None} if copied else _without_ends(subject),
        advice=f"take embed_tokens and lm_head out of {'modules_to_save' if copied else 'target_modules'} "
        "unless the text has a new alphabet",
    )


def _without_ends(subject: Preflight) -> Fields:
    """The targets without the ends, where that leaves some."""
    targets = subject.recipe.target_modules
    left = [] if isinstance(targets, str) else [name for name in targets if name not in subject.ends]
    return {"target_modules": left} if left and len(left) < len(targets) else {}


def four_bits_tiny_batch(subject: Preflight) -> Finding | None:
    """A 4-bit base and a small effective batch: noise on noise.

    Computed: quantize is 4-bit and the effective batch is under 16.
    Try: an effective batch of 32, or int8.
    Source: the QLoRA post-mortem, third cause (NF4, 1 x 8), and its first remedy (2 x 16).
    """
    recipe = subject.recipe
    if recipe.quantize in ("none", "int8") or recipe.effective_batch >= 16:
        return None
    return Finding(
        severity="warning",
        message=f"{recipe.quantize} and an effective batch of {recipe.effective_batch}",
        evidence={"effective_batch": recipe.effective_batch},
        fix={"batch_size": 2, "grad_accum": 16},
    )


def half_precision(subject: Preflight) -> Finding | None:
    """Products in fp16, which ends at 65,504: large activations overflow (gradients are scaled).

    Computed: dtype, or compute_dtype of a base that is quantized to 4 bits, is float16.
    Try: bfloat16, which has the range of fp32; float32 on a CPU or a GPU before Ampere.
    Source: arXiv:1710.03740 (fp16's range).
    """
    recipe = subject.recipe
    field = "dtype" if recipe.dtype == "float16" else "compute_dtype"
    if getattr(recipe, field) != "float16" or (field == "compute_dtype" and recipe.quantize == "none"):
        return None
    return Finding(
        severity="note",
        message="the base is multiplied in float16, whose range large activations may pass",
        fix={field: subject.own_dtype},
    )


def odd_scale(subject: Preflight) -> Finding | None:
    """The adapter's scale (alpha / r, with rsLoRA alpha / sqrt r) is far from usual.

    Computed: under 0.1 or over 16. Usual values are 1 to 2, with rsLoRA up to about 8.
    Try: alpha of twice the rank.
    Source: the write-ups (alpha = 2r throughout); arXiv:2312.03732 for rsLoRA.
    """
    scale = subject.recipe.lora_scale
    if 0.1 <= scale <= 16:
        return None
    return Finding(
        severity="warning",
        message=f"the adapter's scale is {scale:.3g}",
        evidence={"scale": scale},
        fix={"lora_alpha": 2 * subject.recipe.lora_r, "use_rslora": False},
    )
