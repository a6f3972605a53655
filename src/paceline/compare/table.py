"""The comparison of a study: figures of every run, its difference from the baseline, and which run won, if one did."""

from dataclasses import dataclass

from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.losses import ExampleLosses, LossFigures
from paceline.stats.paired import Difference, paired_difference, shared_examples


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run's figures. Times are in seconds, losses in nats a token, `kl` is the mean divergence from the base (None: not measured).

    `difference` is None for the baseline, and for a run that shares no held-out example with it.
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


@dataclass(frozen=True)
class Comparison:
    """`rows` in the study's order, the baseline first; `best` are the runs that nothing beats: one winner, or the runs that tie.

    `base_loss` is the bare base's held-out loss; `missing` names runs with no result yet, and why.
    """

    rows: list[Row]
    best: list[str]
    base_loss: float
    missing: dict[str, str]

    def conclusion(self) -> str:
        """One sentence that says which run won, or that none did."""
        if len(self.rows) == 1:
            return f"{self.rows[0].name} lowers the base's held-out loss from {self.base_loss:.4f} to {self.rows[0].eval_loss:.4f}."
        if len(self.best) == 1:
            return f"{self.best[0]} has the lowest held-out loss, and its lead over every other run is real (95%)."
        return (
            f"No single winner: {', '.join(self.best)} cannot be told apart on these held-out examples (95%)."
        )


def compare(directories: list[RunDirectory]) -> Comparison:
    """Compares finished runs with the first of them.

    Raises:
        RunError: no run has finished.
    """
    missing: dict[str, str] = {
        d.name: d.status().state for d in directories if not (d.eval / "final.parquet").is_file()
    }
    done = [d for d in directories if d.name not in missing]
    if not done:
        raise RunError(
            f"no finished run to compare ({', '.join(f'{name}: {state}' for name, state in missing.items())})"
        )
    losses = {d.name: ExampleLosses.read(d.eval / "final.parquet") for d in done}
    first = losses[done[0].name]
    comparable = [d for d in done if shared_examples(losses[d.name], first)]
    rows = [
        _row(
            d,
            losses[d.name],
            paired_difference(losses[d.name], first) if d is not done[0] and d in comparable else None,
        )
        for d in done
    ]
    ranked = [row for row in rows if row.name in {d.name for d in comparable}]
    leader = min(ranked, key=lambda row: row.eval_loss).name
    rivals = [
        row.name for row in ranked if row.name != leader and _holds_against(losses[row.name], losses[leader])
    ]
    base = ExampleLosses.read(done[0].eval / "base.parquet").summary().loss
    return Comparison(rows, [leader, *rivals], base, missing)


def _holds_against(losses: ExampleLosses, leader: ExampleLosses) -> bool:
    """Whether a run cannot be told from the leader; one that shares no example with it cannot either."""
    return not shared_examples(losses, leader) or paired_difference(losses, leader).verdict != "worse"


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
