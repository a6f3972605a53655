"""How many seeds and held-out examples a study needs to find a difference, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from paceline.api.loading import as_study
from paceline.comparison.finished import finished_groups, losses_by_seed, read_losses
from paceline.comparison.needed import duration
from paceline.comparison.recipes import BASE, loss_family
from paceline.config.study import Study
from paceline.data.mixture import most_rows
from paceline.errors import ConfigError, RunError
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import run_directories
from paceline.stats.power import MAX_SEEDS, Design, Pilot, cheapest, detectable, pilot_of, planned_family
from paceline.training.estimate import CohortEstimate
from paceline.training.prepare import Preparer


@dataclass(frozen=True, kw_only=True)
class DetectionPlan:
    """What a study needs to find a difference of `delta` between two of its recipes with a power.

    `design` is the cheapest (None: not even MAX_SEEDS seeds and all of the source's examples suffice), `now`
    what the study finds as it is written (None: one seed each finds nothing about recipes). `noise_note` says
    on which recipes the noise was measured, and whether theirs is alike. `train` examples
    train each run; `most` could be held out beside them.
    """

    delta: float
    power: float
    noise_from: str
    noise_note: str
    recipes: int
    train: int
    held_out: int
    most: int
    design: Design | None
    now: Design | None

    def sentences(self) -> list[str]:
        """The plan in words."""
        lines = [f"noise over seeds and examples as in {self.noise_from}{self.noise_note}"]
        if self.now is not None:
            lines.append(
                f"as written, {self.now.seeds} seeds each and {self.now.units:,} held-out examples "
                f"find {self.now.detectable:.4f} with {self.power:.0%} power, in about "
                f"{duration(self.now.seconds)}"
            )
        wish = f"a difference of {self.delta:g} between two of {self.recipes} recipes, {self.power:.0%} power"
        if self.design is None:
            return [
                *lines,
                f"{wish}: not even {MAX_SEEDS} seeds each and all {self.most:,} possible held-out examples "
                "are enough",
            ]
        found = (
            f"{wish}: {self.design.seeds} seeds each and {self.design.units:,} held-out examples, "
            f"about {duration(self.design.seconds)}"
        )
        return [*lines, f"{found} ({self._fields(self.design)})"]

    def _fields(self, design: Design) -> str:
        """What to write into the study."""
        if design.units <= self.held_out:
            return f"seeds: {design.seeds}"
        rows = self.train + design.units
        return f"seeds: {design.seeds}; data: {{n: {rows}, eval_ratio: {design.units / rows:.4f}}}"


def detection_plan(
    study: Study | str | Path,
    estimates: Sequence[CohortEstimate],
    noise_from: str | Path,
    *,
    delta: float,
    power: float,
) -> DetectionPlan:
    """Plans seeds and held-out examples from the noise of earlier runs.

    Args:
        estimates: what `paceline.plan` says of the study.
        noise_from: a study's folder, of the same base and data, with replicates: a pilot, an earlier study,
            or this one as far as it is.
        delta: the difference of held-out losses that is to be found, in nats a token.
        power: the share of such studies that would find it.

    Raises:
        ConfigError: a difference or a power that makes no sense; a study of one recipe.
        RunError: the earlier runs have another base or other data, or no recipe with two finished replicates.
    """
    if not 0 < delta < float("inf") or not 0.05 < power < 1:
        raise ConfigError(f"a difference above 0 and a power below 1 are needed, not {delta:g} and {power:g}")
    made = as_study(study)
    recipes = len(made.recipes)
    if recipes < 2:
        raise ConfigError(f"study {made.name} has one recipe; a difference is between two")
    pilot, note = _pilot(made, Path(noise_from))
    baseline = made.runs[0].recipe
    prepared = Preparer().prepare(baseline)
    train, held_out = prepared.facts.train, prepared.facts.eval
    most = held_out + most_rows(baseline.data) - sum(prepared.dataset.counts.values())
    runs = [run for cohort in estimates for run in cohort.runs]
    run_seconds, unit_seconds = (
        fmean(getattr(run, what) for run in runs) for what in ("seconds", "evaluation")
    )
    seeds = min(len(own) for own in made.recipes.values())
    now = None
    if seeds > 1:
        family = planned_family(pilot, recipes=recipes, seeds=seeds, units=held_out)
        cost = seeds * recipes * (run_seconds + held_out * unit_seconds)
        found = detectable(family, (0, 1), power)
        now = Design(seeds=seeds, units=held_out, detectable=found, seconds=cost)
    return DetectionPlan(
        delta=delta,
        power=power,
        noise_from=str(noise_from),
        noise_note=note,
        recipes=recipes,
        train=train,
        held_out=held_out,
        most=most,
        now=now,
        design=cheapest(
            pilot,
            recipes=recipes,
            delta=delta,
            power=power,
            most_units=most,
            least_units=held_out,
            run_seconds=run_seconds,
            unit_seconds=unit_seconds,
        ),
    )


def _pilot(study: Study, folder: Path) -> tuple[Pilot, str]:
    """The noise that a folder's finished runs show, and what there is to say of it."""
    if not (folder / "study.yaml").is_file():
        raise RunError(
            f"{folder}: no runs there to see the noise of seeds in; name a study's folder with --noise, or "
            "train the baseline first (`noise: 5`)"
        )
    directories = run_directories([folder])
    losses = read_losses(directories)
    groups = finished_groups(directories, losses)
    if not groups:
        raise RunError(f"{folder}: no finished run there to see the noise of seeds in")
    first, wanted = groups[0].directories[0], study.runs[0].recipe
    earlier = first.recipe()
    for what, ours, theirs in (
        ("base", wanted.base, earlier.base),
        ("data", wanted.data.source, earlier.data.source),
    ):
        if ours != theirs:
            raise RunError(f"{folder}: its {what} is {theirs}, the study's is {ours}; its noise is another")
    base = ExampleLosses.read(first.eval / "base.parquet")
    family = loss_family(losses_by_seed(groups, losses), base).family
    if family is None or family.noise is None:
        raise RunError(
            f"{folder}: no recipe has two finished replicates, so it says nothing of the seeds' noise; "
            "train it with `seeds: 3`, or its baseline with `noise: 5`"
        )
    note = f", on {', '.join(family.seeds.measured)}"
    note += "; pooled, though one's noise over seeds is clearly another's" * family.welch
    return pilot_of(family, BASE), note
