"""Steps and rates: how often the weights will change, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.doctor.finding import Finding
from paceline.runs.events import Severity

if TYPE_CHECKING:
    from paceline.doctor.preflight import Preflight


def warmup_never_ends(subject: Preflight) -> Finding | None:
    """The learning rate is still warming up when the run ends, or for more than half of it.

    Computed: warm-up steps against all steps: an error from all of them, a warning from half.
    Try: warmup_ratio 0.1.
    Source: the runs in the write-ups warm up over 10 to 20%.
    """
    plan = subject.prepared.plan
    share = plan.warmup_steps / plan.total_steps
    if share <= 0.5 or plan.total_steps < 4:
        return None
    return Finding(
        severity="error" if share >= 1 else "warning",
        message=f"{plan.warmup_steps} of {plan.total_steps} steps warm up",
        evidence={"share": round(share, 3)},
        fix={"warmup_steps": None, "warmup_ratio": 0.1},
    )


def little_coverage(subject: Preflight) -> Finding | None:
    """The run will see less than half of its training data.

    Computed: steps x effective batch / training examples. Under 0.5 is a warning: what a model has not seen
    it cannot learn.
    Try: epochs instead of max_steps.
    Source: the QLoRA post-mortem: 500 steps of 8 on 45,000 rows, 8.9%.
    """
    plan, batch = subject.prepared.plan, subject.recipe.effective_batch
    coverage = plan.total_steps * batch / plan.examples
    if coverage >= 0.5 or not subject.recipe.max_steps:
        return None
    return Finding(
        severity="warning",
        message=f"{plan.total_steps} steps of {batch} see {coverage:.1%} of {plan.examples:,} examples",
        evidence={"coverage": round(coverage, 4)},
        fix={"max_steps": plan.steps_per_epoch},
    )


def schedule_dies_early(subject: Preflight) -> Finding | None:
    """For a good part of the run the learning rate will be under 1% of its peak: steps that change nothing.

    Computed: the schedule itself. A cosine to zero spends 6.4% of its steps there, a linear one 1%; over
    15% is a warning.
    Try: a floor (cosine_with_min_lr, min_lr_ratio 0.1), polynomial with a lower power.
    Source: the QLoRA post-mortem, second cause.
    """
    rates = subject.rates
    if len(rates) < 10 or rates.max() <= 0:
        return None
    dead = float((rates[int(rates.argmax()) :] < 0.01 * rates.max()).sum() / len(rates))
    if dead <= 0.15:
        return None
    return Finding(
        severity="warning",
        message=f"{dead:.0%} of the steps have a learning rate under 1% of its peak",
        evidence={"share": round(dead, 3)},
        fix={"lr_scheduler": "cosine_with_min_lr", "min_lr_ratio": 0.1},
    )


def rate_out_of_range(subject: Preflight) -> Finding | None:
    """The learning rate is far from where LoRA usually learns best.

    Computed: useful = 5e-4 x (2000 / hidden size)^p with p = 0.0775 for Qwen and 0.781 for Llama-like
    models. The rank and the adapter's scale are left out: the best rate hardly depends on the rank. Over
    ten times that is a warning, over a hundred times an error; under a hundredth a warning, under a
    twentieth a note.
    Try: the useful rate.
    Source: "LoRA Without Regret" (Thinking Machines, 2025): about ten times the rate of full fine-tuning,
    and its fit over model sizes.
    """
    useful = 5e-4 * (2000 / subject.hidden_size) ** (0.0775 if "qwen" in subject.model_type else 0.781)
    factor = subject.recipe.lr / useful
    if 0.05 <= factor <= 10:
        return None
    severity: Severity = "error" if factor > 100 else "note" if 0.01 <= factor < 1 else "warning"
    relation = f"{factor:.0f} times" if factor > 1 else f"1/{1 / factor:.0f} of"
    return Finding(
        severity=severity,
        message=f"lr {subject.recipe.lr:.1e} is {relation} the usual {useful:.1e} for LoRA at this size",
        evidence={"factor": round(factor, 4), "usual": useful},
        fix={"lr": float(f"{useful:.1g}")},
    )


def few_steps(subject: Preflight) -> Finding | None:
    """The effective batch is large for the data: there will be too few updates.

    Computed: under 10 steps an epoch and under 30 in all, where at least 64 examples could give more.
    Try: a smaller effective batch (an eighth of it here), more epochs.
    Source: the five-recipe study on Rust, where four times the updates won.
    """
    plan, recipe = subject.prepared.plan, subject.recipe
    if plan.steps_per_epoch >= 10 or plan.total_steps >= 30 or plan.examples < 64 or recipe.max_steps:
        return None
    return Finding(
        severity="warning",
        message=f"an effective batch of {recipe.effective_batch} gives {plan.total_steps} steps "
        f"on {plan.examples:,} examples",
        evidence={"steps": plan.total_steps},
        fix={"grad_accum": max(1, recipe.grad_accum // 8)}
        if recipe.grad_accum > 1
        else {"batch_size": max(1, recipe.final_batch_size // 8)},
    )
