"""The comparison of a study: each recipe's figures, its differences, and what can be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from paceline.comparison.caveats import Caveat, caveats
from paceline.comparison.finished import base_of, finished_groups, losses_by_seed, other_bases, read_losses
from paceline.comparison.needed import needed_to_know
from paceline.comparison.noise import EarlierNoise, noise_notes
from paceline.comparison.recipes import BASE, loss_family, only
from paceline.comparison.rows import Row, make_row
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.evaluation_status import EvaluationStatus, evaluation_statuses
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import recipe_groups
from paceline.stats.recipes import RecipeDifference, RecipeFamily
from paceline.stats.seed_noise import SeedNoise


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`rows` in the study's order, the baseline first; `best` are the recipes that nothing is better than.

    `best[0]` has the lowest loss; `from_best` holds every other recipe's difference from it. All differences,
    and the ranking, are on the examples that all of these recipes share. `base_loss` is the bare base's,
    as `base_token_accuracy` is;
    `missing` holds the status of runs with no result; `caveats` say what ended runs early, which recipes lack
    seeds, and which were trained for other numbers of steps; `evaluations` says what was asked of each run
    beside its loss, and whether it was done. `noise` is the seeds' (None: one seed each), `earlier` what
    another study said of it. `family` holds every pair's difference.
    """

    rows: list[Row]
    best: list[str]
    from_best: dict[str, RecipeDifference]
    base_loss: float
    base_token_accuracy: float
    missing: dict[str, RunStatus]
    caveats: list[Caveat]
    evaluations: list[EvaluationStatus]
    noise: SeedNoise | None
    earlier: EarlierNoise | None
    examples: int
    left_out: int
    family: RecipeFamily | None

    @property
    def base_perplexity(self) -> float:
        """e to the bare base's loss."""
        return float(np.exp(self.base_loss))

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
            compared = ", ".join(self.from_best)
            return (
                f"{leader} has the lowest held-out loss, and its lead over every other recipe compared "
                f"({compared}) is real (95%, over examples and seeds)."
            )
        tied = ", ".join(self.best)
        return f"No single winner: {tied} cannot be told apart (95%, over examples and seeds)."

    def footnotes(self) -> list[str]:
        """What the figures and intervals mean, in a line or two."""
        if self.family is None:
            return []
        if not self.from_best:
            return noise_notes(self.family, self.earlier)
        over = "examples and seeds" if self.covers_seeds else "the choice of examples, not of the seed"
        left_out = f"; {self.left_out} that some recipe does not share are left out" if self.left_out else ""
        lines = [
            f"Δ: paired over {self.examples:,} held-out examples{left_out}; a tie's interval holds zero. "
            f"All intervals together hold in 95% of studies; they cover {over}."
        ]
        if any(row.spread is not None for row in self.rows):
            lines.append("eval loss: mean ± standard deviation over seeds; tokens and time are of all seeds.")
        if self.welch:
            whose = "pair has its own, seed by seed" if self.family.seeds.blocked else "has its own (Welch)"
            lines.append(f"The recipes' noise over seeds is too unlike to be pooled: each {whose}.")
        lines += noise_notes(self.family, self.earlier)
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


def compare(
    directories: list[RunDirectory],
    losses: Mapping[str, ExampleLosses] | None = None,
    earlier: EarlierNoise | None = None,
) -> Comparison:
    """Compares finished recipes, replicates together, with the first of them and with the bare base.

    Args:
        losses: what `read_losses` gave, where a caller has read them already.
        earlier: the seeds' noise as `noise_for` found it in another study.

    Raises:
        RunError: no run has finished.
    """
    losses = read_losses(directories) if losses is None else losses
    missing = {d.name: d.status() for d in directories if d.name not in losses}
    groups = finished_groups(directories, losses)
    if not groups:
        states = ", ".join(f"{name}: {status.ending or status.state}" for name, status in missing.items())
        raise RunError(f"no finished run to compare ({states})")
    base = base_of(groups)
    by_seed = losses_by_seed(groups, losses)
    measured = loss_family(by_seed, base, earlier.noise if earlier else None)
    planned = {group.name: len(group.directories) for group in recipe_groups(directories)}
    elsewhere = other_bases(groups)
    rows = [
        make_row(
            group, planned[group.name], losses, groups[0].name, measured, has_base=group.name not in elsewhere
        )
        for group in groups
    ]
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
        base_token_accuracy=(only(base, measured.shared) if family else base).summary().token_accuracy,
        missing=missing,
        caveats=caveats(directories, losses),
        evaluations=evaluation_statuses(d for d in directories if d.recipe_file.is_file()),
        noise=family.noise if family else None,
        earlier=earlier,
        examples=family.units if family else len(base.row),
        left_out=measured.left_out,
        family=family,
    )
