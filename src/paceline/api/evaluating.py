"""What finished runs, or any adapters, are worth on rows: their own held-out ones, or another data set's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from paceline.config.data import Data
from paceline.errors import ConfigError
from paceline.evaluate.adapters import adapter_recipes, load_adapters, run_paths
from paceline.evaluate.held_out import AdapterLosses, held_out_losses_of, losses_on
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.evaluate.study import evaluate_study
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluations import EvaluationResult, FailedEvaluation
from paceline.runs.files import JsonObject
from paceline.runs.study import read_study_record
from paceline.stats.paired import Difference


@dataclass(frozen=True)
class Evaluated:
    """Losses by adapter, and the results of the evaluations that were done now."""

    losses: dict[str, AdapterLosses]
    evaluations: Sequence[EvaluationResult] = ()

    @property
    def failed(self) -> list[FailedEvaluation]:
        """The evaluations that could not be done."""
        return [result for result in self.evaluations if isinstance(result, FailedEvaluation)]

    def to_dict(self) -> JsonObject:
        """Losses in nats a token and accuracies of each adapter and of its base, JSON-ready."""
        adapters = [
            {
                "name": name,
                "source": losses.source,
                "base": losses.base.summary().model_dump(mode="json"),
                "adapter": losses.own.summary().model_dump(mode="json"),
                "change_from_base": _difference(losses.change),
                "change_from_first": losses.from_first and _difference(losses.from_first),
            }
            for name, losses in self.losses.items()
        ]
        return {
            "adapters": adapters,
            "evaluations": [
                {"kind": result.kind, **result.model_dump(mode="json")} for result in self.evaluations
            ],
        }


def evaluate(
    runs: Sequence[str | Path],
    data: Data | str | None = None,
    progress: EvaluationProgress = NO_PROGRESS,
    *,
    max_length: int | None = None,
) -> Evaluated:
    """Measures held-out loss and token accuracy of adapters and of the base that they share.

    Args:
        runs: run directories, a study's folder, or adapters in PEFT's format.
        data: the rows, all of them; None: each run's own held-out rows, and then also those of the
            evaluations that its recipe asks for (`eval`) that were not done before.
        progress: told what happens.
        max_length: tokens at which examples of `data` are cut; None: the longest of the runs'.

    Raises:
        ConfigError: no data for an adapter that is no run of Paceline's.
        PacelineError: no adapter there; runs of several bases; data that cannot be read.
    """
    recipes = adapter_recipes([path for run in runs for path in _in_order(Path(run))])
    if data is not None:
        chosen = Data(source=data) if isinstance(data, str) else data
        for path, recipe in recipes.items():
            if chosen.source in {part.source for part in recipe.data.parts()}:
                progress.log(
                    f"warning: {path} was trained on rows of {chosen.source}; without --data it is "
                    "evaluated on those that it held out"
                )
        length = max_length or max(recipe.max_length for recipe in recipes.values())
        return Evaluated(losses_on(load_adapters(list(recipes)), chosen, length, progress))
    foreign = [path for path in recipes if not (path / "recipe.yaml").is_file()]
    if foreign:
        raise ConfigError(f"{foreign[0]} is no run of Paceline's and holds no rows out; name some as --data")
    losses = held_out_losses_of(load_adapters(list(recipes)), recipes, progress)
    directories = [RunDirectory(path) for path in recipes]
    folder = directories[0].path.parent if len(directories) > 1 else directories[0].path
    return Evaluated(losses, evaluate_study(directories, folder, progress))


def _in_order(path: Path) -> list[Path]:
    """A study's finished runs in its own order, the baseline first; anything else as it is."""
    names = [run.name for run in read_study_record(path).runs]
    return sorted(run_paths([path]), key=lambda run: names.index(run.name) if run.name in names else 0)


def _difference(difference: Difference) -> JsonObject:
    return {**asdict(difference), "verdict": difference.verdict}
