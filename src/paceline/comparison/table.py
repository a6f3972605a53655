"""The comparison of a study: each run's figures, its difference from the baseline, and the winner if any."""

from collections.abc import Mapping
from dataclasses import dataclass

from paceline.comparison.losses import loss_difference, shared_examples
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluation_status import EvaluationStatus, evaluation_statuses
from paceline.runs.losses import ExampleLosses, LossFigures
from paceline.stats.paired import Difference


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run's figures: seconds, losses in nats a token, `kl` the mean divergence from the base.

    `kl` is None where it was not measured. `difference` is None for the baseline, and for a run that shares
    no held-out example with it.
    """

    name: str
    eval_loss: float
    perplexity: float
    token_accuracy: float
    steps: int
    tokens: int
    seconds: float
    tasks: dict[str, LossFigures]
    kl: float | None
    difference: Difference | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`rows` in the study's order, the baseline first; `best` are the runs that nothing beats.

    `best` is a winner or the runs that tie, `best[0]` has the lowest loss; `from_best` holds every other
    run's difference from it, where the two share examples. `base_loss` is the bare base's held-out loss,
    `gain` the difference of `best[0]` from it; `missing` names runs with no result yet, and their state;
    `evaluations` says what was asked of each run beside its loss, and whether it was done.
    """

    rows: list[Row]
    best: list[str]
    from_best: dict[str, Difference]
    base_loss: float
    gain: Difference
    missing: dict[str, str]
    evaluations: list[EvaluationStatus]

    def gain_sentence(self) -> str:
        """What the first of the best does to the base's held-out loss, as far as the interval says it."""
        leader, gain = self.best[0], self.gain
        loss = next(row.eval_loss for row in self.rows if row.name == leader)
        if gain.delta == gain.low == gain.high == 0:
            return f"{leader} does not change the held-out loss ({loss:.4f})."
        losses = f"from {loss - gain.delta:.4f} to {loss:.4f}"
        bounds = f"{gain.delta:+.4f}, 95% from {gain.low:+.4f} to {gain.high:+.4f} nats a token"
        if gain.verdict == "tie":
            return f"{leader} does not measurably change the base's held-out loss, {losses} ({bounds})."
        verb = "lowers" if gain.verdict == "better" else "raises"
        return f"{leader} {verb} the base's held-out loss {losses} ({bounds})."

    def conclusion(self) -> str:
        """One sentence that says which run won, or that none did."""
        if len(self.rows) == 1:
            return self.gain_sentence()
        if len(self.best) == 1:
            best = self.best[0]
            return f"{best} has the lowest held-out loss, and its lead over every other run is real (95%)."
        tied = ", ".join(self.best)
        return f"No single winner: {tied} cannot be told apart on these held-out examples (95%)."


def read_losses(directories: list[RunDirectory]) -> dict[str, ExampleLosses]:
    """{run: its held-out losses at the end}, of the runs that have them."""
    files = {directory.name: directory.eval / "final.parquet" for directory in directories}
    return {name: ExampleLosses.read(file) for name, file in files.items() if file.is_file()}


def compare(directories: list[RunDirectory], losses: Mapping[str, ExampleLosses] | None = None) -> Comparison:
    """Compares finished runs with the first of them.

    Args:
        losses: what `read_losses` gave, where a caller has read them already.

    Raises:
        RunError: no run has finished.
    """
    losses = read_losses(directories) if losses is None else losses
    missing: dict[str, str] = {d.name: d.status().state for d in directories if d.name not in losses}
    finished = [d for d in directories if d.name in losses]
    if not finished:
        states = ", ".join(f"{name}: {state}" for name, state in missing.items())
        raise RunError(f"no finished run to compare ({states})")
    baseline = finished[0].name
    from_baseline = _differences_from(baseline, losses)
    rows = [_row(d, losses[d.name], from_baseline.get(d.name)) for d in finished]
    ranked = [row for row in rows if row.name == baseline or row.name in from_baseline]
    leader = min(ranked, key=lambda row: row.eval_loss).name
    best_directory = next(directory for directory in finished if directory.name == leader)
    base = ExampleLosses.read(best_directory.eval / "base.parquet")
    from_best = from_baseline if leader == baseline else _differences_from(leader, losses)
    return Comparison(
        rows=rows,
        best=[leader, *(row.name for row in ranked if row.name != leader and _ties(from_best.get(row.name)))],
        from_best={row.name: from_best[row.name] for row in rows if row.name in from_best},
        base_loss=ExampleLosses.read(finished[0].eval / "base.parquet").summary().loss,
        gain=loss_difference(losses[leader], base),
        missing=missing,
        evaluations=evaluation_statuses(d for d in directories if d.recipe_file.is_file()),
    )


def _differences_from(name: str, losses: Mapping[str, ExampleLosses]) -> dict[str, Difference]:
    """{run: its difference from the named one}, of the runs that share examples with it."""
    return {
        run: loss_difference(own, losses[name])
        for run, own in losses.items()
        if run != name and shared_examples(own, losses[name])
    }


def _ties(difference: Difference | None) -> bool:
    """Whether a run cannot be told from the leader; one that shares no example with it cannot either."""
    return difference is None or difference.verdict != "worse"


def _row(directory: RunDirectory, losses: ExampleLosses, difference: Difference | None) -> Row:
    status, summary = directory.status(), losses.summary()
    return Row(
        name=directory.name,
        eval_loss=summary.loss,
        perplexity=summary.perplexity,
        token_accuracy=summary.token_accuracy,
        steps=status.step,
        tokens=status.tokens,
        seconds=status.seconds,
        tasks=summary.tasks,
        kl=summary.kl,
        difference=difference,
    )
