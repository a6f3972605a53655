"""The row of a recipe in the table of a study, from its finished replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from paceline.comparison.recipes import BASE, LossFamily, only
from paceline.runs.directory import RunDirectory
from paceline.runs.losses import ExampleLosses, LossFigures
from paceline.runs.study import RecipeGroup
from paceline.stats.recipes import RecipeDifference


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One run of a recipe: its seed, held-out loss in nats a token, steps, tokens, seconds of training.

    `total_steps` are those that it was to take (0: not known); `reason` says why it stopped early.
    """

    name: str
    seed: int
    eval_loss: float
    token_accuracy: float
    steps: int
    total_steps: int
    tokens: int
    seconds: float
    stopped_early: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe's figures: means over its finished replicates; tokens and seconds are of all together.

    `planned` counts its replicates, those without a result too. `spread` is the standard deviation of the
    loss over seeds (None: one seed). `kl` is the mean divergence from the base (None: not measured).
    `difference` is from the baseline, None for the baseline itself and for a recipe that shares no held-out
    example with it; `from_base` is from the bare base, None where that is not this recipe's.
    """

    name: str
    replicates: list[Replicate]
    planned: int
    eval_loss: float
    spread: float | None
    perplexity: float
    token_accuracy: float
    steps: int
    tokens: int
    seconds: float
    tasks: dict[str, LossFigures]
    kl: float | None
    difference: RecipeDifference | None
    from_base: RecipeDifference | None

    @property
    def seeds_shown(self) -> str:
        """Behind the name: ` × 3`, or ` × 2 of 3` where one has no result; empty for a single run."""
        return seeds_shown(len(self.replicates), self.planned)

    @property
    def by_seed(self) -> list[str]:
        """Each replicate's loss in words; nothing where there is only one."""
        return by_seed([(one.seed, f"{one.eval_loss:.4f}") for one in self.replicates])

    @property
    def steps_shown(self) -> str:
        """The steps taken, and of how many where a replicate stopped early: `40 to 56 of 112`."""
        taken = sorted(replicate.steps for replicate in self.replicates)
        shown = f"{taken[0]:,}" + (f" to {taken[-1]:,}" if taken[0] < taken[-1] else "")
        total = max(replicate.total_steps for replicate in self.replicates)
        early = any(replicate.stopped_early for replicate in self.replicates)
        return f"{shown} of {total:,}" if early and total else shown + " (early)" * early


def make_row(
    group: RecipeGroup,
    planned: int,
    losses: Mapping[str, ExampleLosses],
    baseline: str,
    measured: LossFamily,
    has_base: bool,
) -> Row:
    """A recipe's row from its finished replicates; `planned` counts all of them.

    Every figure is on the examples that the compared recipes share; of a recipe apart, on its own.
    `has_base`: the bare base among what was measured is this recipe's.
    """
    family = measured.family if group.name not in measured.apart else None
    own_losses = [losses[directory.name] for directory in group.directories]
    summaries = [(only(one, measured.shared) if family else one).summary() for one in own_losses]
    replicates = [
        _replicate(directory, seed, summary)
        for seed, directory, summary in zip(group.seeds, group.directories, summaries, strict=True)
    ]
    own = [replicate.eval_loss for replicate in replicates]
    loss = family.means[group.name] if family else fmean(own)
    kls = [summary.kl for summary in summaries if summary.kl is not None]
    return Row(
        name=group.name,
        replicates=replicates,
        planned=planned,
        eval_loss=loss,
        spread=stdev(own) if len(own) > 1 else None,
        perplexity=float(np.exp(loss)),
        token_accuracy=fmean(replicate.token_accuracy for replicate in replicates),
        steps=round(fmean(replicate.steps for replicate in replicates)),
        tokens=sum(replicate.tokens for replicate in replicates),
        seconds=sum(replicate.seconds for replicate in replicates),
        tasks=_mean_figures([summary.tasks for summary in summaries]),
        kl=fmean(kls) if len(kls) == len(summaries) else None,
        difference=family.between(group.name, baseline) if family and group.name != baseline else None,
        from_base=family.between(group.name, BASE) if family and has_base else None,
    )


def _replicate(directory: RunDirectory, seed: int, summary: LossFigures) -> Replicate:
    status = directory.status()
    return Replicate(
        name=directory.name,
        seed=seed,
        eval_loss=summary.loss,
        token_accuracy=summary.token_accuracy,
        steps=status.step,
        total_steps=status.total_steps,
        tokens=status.tokens,
        seconds=status.seconds,
        stopped_early=status.stopped_early,
        reason=status.reason,
    )


def _mean_figures(by_task: Sequence[Mapping[str, LossFigures]]) -> dict[str, LossFigures]:
    """Each task's figures as means over replicates, which hold out the same examples."""
    return {
        task: figures.model_copy(
            update={
                "loss": (loss := fmean(own[task].loss for own in by_task)),
                "perplexity": float(np.exp(loss)),
                "token_accuracy": fmean(own[task].token_accuracy for own in by_task),
            }
        )
        for task, figures in by_task[0].items()
    }


def seeds_shown(count: int, planned: int) -> str:
    """How many replicates a recipe has, behind its name: ` × 3`, ` × 2 of 3`, or nothing for the only one."""
    if count < planned:
        return f" × {count} of {planned}"
    return f" × {count}" if count > 1 else ""


def by_seed(replicates: Sequence[tuple[int, str]]) -> list[str]:
    """One line a replicate, (seed, figure in words) each; nothing where there is only one."""
    if len(replicates) < 2:
        return []
    return [f"seed {seed}: {text}" for seed, text in replicates]
