"""The comparison of a study: each recipe's figures, its differences, and what can be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from paceline.comparison.needed import needed_to_know
from paceline.comparison.recipes import BASE, LossFamily, loss_family
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluation_status import EvaluationStatus, evaluation_statuses
from paceline.runs.losses import ExampleLosses, LossFigures
from paceline.runs.study import RecipeGroup, recipe_groups
from paceline.stats.recipes import RecipeDifference, RecipeFamily
from paceline.stats.seed_noise import SeedNoise


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One run of a recipe: its seed, held-out loss in nats a token, steps, tokens, seconds of training."""

    name: str
    seed: int
    eval_loss: float
    token_accuracy: float
    steps: int
    tokens: int
    seconds: float
    stopped_early: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe's figures: means over its finished replicates; tokens and seconds are of all together.

    `spread` is the standard deviation of the loss over seeds (None: one seed). `kl` is the mean divergence
    from the base (None: not measured). `difference` is from the baseline, None for the baseline itself and
    for a recipe that shares no held-out example with it; `from_base` is from the bare base.
    """

    name: str
    replicates: list[Replicate]
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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`rows` in the study's order, the baseline first; `best` are the recipes that nothing is better than.

    `best[0]` has the lowest loss; `from_best` holds every other recipe's difference from it. All differences,
    and the ranking, are on the examples that all of these recipes share. `base_loss` is the bare base's;
    `missing` names runs with no result yet, and their state; `evaluations` says what was asked of each run
    beside its loss, and whether it was done. `noise` is the seeds' (None: one seed each). `family` holds
    every pair's difference.
    """

    rows: list[Row]
    best: list[str]
    from_best: dict[str, RecipeDifference]
    base_loss: float
    missing: dict[str, str]
    evaluations: list[EvaluationStatus]
    noise: SeedNoise | None
    examples: int
    left_out: int
    family: RecipeFamily | None

    @property
    def welch(self) -> bool:
        """Whether the recipes' noise is too unlike to be pooled."""
        return self.family is not None and self.family.welch

    @property
    def covers_seeds(self) -> bool:
        """Whether what is said here is said of recipes; if not, of these adapters alone."""
        return self.noise is not None

    def conclusion(self) -> str:
        """One sentence that says which recipe won, that none did, or of what nothing can be said."""
        if len(self.rows) == 1:
            return gain(self.rows[0], self.base_loss)
        leader, *others = self.best
        if not self.from_best:
            return f"{leader} shares its held-out examples with no other recipe: nothing is compared."
        if not self.covers_seeds:
            return _of_adapters(leader, self.from_best)
        if not others:
            return (
                f"{leader} has the lowest held-out loss, and its lead over every other recipe is real "
                "(95%, over examples and seeds)."
            )
        tied = ", ".join(self.best)
        return f"No single winner: {tied} cannot be told apart (95%, over examples and seeds)."

    def footnotes(self) -> list[str]:
        """What the figures and intervals mean, in a line or two."""
        if not self.from_best:
            return []
        over = "examples and seeds" if self.covers_seeds else "the choice of examples, not of the seed"
        left_out = f"; {self.left_out} that some recipe does not share are left out" if self.left_out else ""
        lines = [
            f"Δ: paired over {self.examples:,} held-out examples{left_out}; a tie's interval holds zero. "
            f"All intervals together hold in 95% of studies; they cover {over}."
        ]
        if any(row.spread is not None for row in self.rows):
            lines.append("eval loss: mean ± standard deviation over seeds; tokens and time are of all seeds.")
        if self.welch:
            lines.append(
                "The recipes' noise over seeds is too unlike to be pooled: each has its own (Welch)."
            )
        if not self.covers_seeds:
            lines.append("differ: these adapters do, of one seed each.")
        return [*lines, needed] if (needed := self.needed()) else lines

    def needed(self) -> str | None:
        """What would tell the recipes apart that cannot be told apart here, and what that costs."""
        tied = len(self.best) > 1 or not self.covers_seeds
        if self.family is None or not self.from_best or not tied:
            return None
        replicates = {row.name: len(row.replicates) for row in self.rows if row.name in self.family.means}
        own = [replicate.seconds for row in self.rows for replicate in row.replicates]
        return needed_to_know(
            self.family,
            (self.best[0], self.best[1] if len(self.best) > 1 else next(iter(self.from_best))),
            replicates=replicates,
            base=BASE,
            seconds_per_run=fmean(own),
        )


def gain(row: Row, base_loss: float) -> str:
    """What a recipe does to the base's held-out loss, as far as the interval says it."""
    losses = f"from {base_loss:.4f} to {row.eval_loss:.4f}"
    d = row.from_base
    if d is None:
        return f"{row.name}: held-out loss {losses}; too few examples to say more."
    who = row.name if d.covers_seeds else f"the adapter of {row.name}"
    over = "examples and seeds" if d.covers_seeds else "examples, one seed"
    if d.delta == 0:
        return f"{who} does not change the held-out loss ({row.eval_loss:.4f})."
    bounds = f"{d.delta:+.4f}, 95% from {d.low:+.4f} to {d.high:+.4f} over {over}"
    if not d.low <= 0 <= d.high:
        return f"{who} {'lowers' if d.high < 0 else 'raises'} the base's held-out loss {losses} ({bounds})."
    return f"{who} does not measurably change the held-out loss, {losses} ({bounds})."


def _of_adapters(leader: str, from_best: Mapping[str, RecipeDifference]) -> str:
    """One seed each: what these adapters show, and what they cannot."""
    apart = [name for name, d in from_best.items() if d.verdict != "tie"]
    tied = [name for name, d in from_best.items() if d.verdict == "tie"]
    if not apart:
        said = f"these adapters tie: {', '.join([leader, *tied])}"
    elif not tied:
        said = f"the adapter of {leader} has the lowest held-out loss, and every other differs from it"
    else:
        said = f"the adapter of {leader} has the lowest held-out loss and ties with {', '.join(tied)}"
    return f"One seed each, so there is no verdict on the recipes: {said} (95%, over examples)."


def read_losses(directories: Sequence[RunDirectory]) -> dict[str, ExampleLosses]:
    """{run: its held-out losses at the end}, of the runs that have them."""
    files = {directory.name: directory.eval / "final.parquet" for directory in directories}
    return {name: ExampleLosses.read(file) for name, file in files.items() if file.is_file()}


def compare(
    directories: list[RunDirectory],
    losses: Mapping[str, ExampleLosses] | None = None,
    known: SeedNoise | None = None,
) -> Comparison:
    """Compares finished recipes, replicates together, with the first of them and with the bare base.

    Args:
        losses: what `read_losses` gave, where a caller has read them already.
        known: the seeds' noise as `seed_noise` found it in another study.

    Raises:
        RunError: no run has finished.
    """
    losses = read_losses(directories) if losses is None else losses
    missing: dict[str, str] = {d.name: d.status().state for d in directories if d.name not in losses}
    groups = finished_groups(directories, losses)
    if not groups:
        states = ", ".join(f"{name}: {state}" for name, state in missing.items())
        raise RunError(f"no finished run to compare ({states})")
    base = _base_of(groups)
    measured = loss_family(losses_by_seed(groups, losses), base, known)
    rows = [_row(group, losses, groups[0].name, measured) for group in groups]
    ranked = [row for row in rows if row.name not in measured.apart]
    leader = min(ranked, key=lambda row: row.eval_loss).name
    family = measured.family
    others = [row.name for row in ranked if row.name != leader] if family else []
    from_best = {name: family.between(name, leader) for name in others} if family else {}
    return Comparison(
        rows=rows,
        best=[leader, *(name for name, d in from_best.items() if d.verdict in ("tie", "differ"))],
        from_best=from_best,
        base_loss=family.means[BASE] if family else base.summary().loss,
        missing=missing,
        evaluations=evaluation_statuses(d for d in directories if d.recipe_file.is_file()),
        noise=family.noise if family else None,
        examples=family.units if family else len(base.row),
        left_out=measured.left_out,
        family=family,
    )


def noise_for(directories: Sequence[RunDirectory], earlier: Sequence[RunDirectory]) -> SeedNoise:
    """How much a held-out loss moves with the seed, as the replicates of an earlier study show it.

    Raises:
        RunError: the earlier study has another base or other data, or no recipe with two finished replicates.
    """
    where = earlier[0].path.parent
    for what, ours, theirs in zip(("base", "data"), _setting(directories), _setting(earlier), strict=True):
        if ours != theirs:
            raise RunError(
                f"{where}: its {what} is {theirs}, here it is {ours}; "
                "the seeds' noise of one is not the other's"
            )
    losses = read_losses(earlier)
    groups = finished_groups(earlier, losses)
    family = loss_family(losses_by_seed(groups, losses), _base_of(groups)).family if groups else None
    if family is None or family.noise is None:
        raise RunError(
            f"{where}: no recipe has two finished replicates, so it says nothing of the seeds' noise; "
            "train it with `seeds: 3`"
        )
    return family.noise


def _setting(directories: Sequence[RunDirectory]) -> tuple[str, str]:
    recipe = directories[0].recipe()
    return recipe.base, recipe.data.source


def finished_groups(
    directories: Sequence[RunDirectory], losses: Mapping[str, ExampleLosses]
) -> list[RecipeGroup]:
    """The recipes with those of their runs that have losses, without recipes that have none."""
    return recipe_groups([directory for directory in directories if directory.name in losses])


def losses_by_seed(
    groups: Sequence[RecipeGroup], losses: Mapping[str, ExampleLosses]
) -> dict[str, dict[int, ExampleLosses]]:
    """{recipe: {seed: its held-out losses}}."""
    return {
        group.name: {seed: losses[d.name] for seed, d in zip(group.seeds, group.directories, strict=True)}
        for group in groups
    }


def _base_of(groups: Sequence[RecipeGroup]) -> ExampleLosses:
    return ExampleLosses.read(groups[0].directories[0].eval / "base.parquet")


def _row(group: RecipeGroup, losses: Mapping[str, ExampleLosses], baseline: str, measured: LossFamily) -> Row:
    replicates = [
        _replicate(directory, seed, losses[directory.name])
        for seed, directory in zip(group.seeds, group.directories, strict=True)
    ]
    summaries = [losses[directory.name].summary() for directory in group.directories]
    family = measured.family if group.name not in measured.apart else None
    own = [replicate.eval_loss for replicate in replicates]
    loss = family.means[group.name] if family else fmean(own)
    kls = [summary.kl for summary in summaries if summary.kl is not None]
    return Row(
        name=group.name,
        replicates=replicates,
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
        from_base=family.between(group.name, BASE) if family else None,
    )


def _replicate(directory: RunDirectory, seed: int, losses: ExampleLosses) -> Replicate:
    status, summary = directory.status(), losses.summary()
    return Replicate(
        name=directory.name,
        seed=seed,
        eval_loss=summary.loss,
        token_accuracy=summary.token_accuracy,
        steps=status.step,
        tokens=status.tokens,
        seconds=status.seconds,
        stopped_early=status.stopped_early,
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
