"""Whether a run is worse on general rows than the bare base."""

from pathlib import Path

from paceline.compare.paired import Difference, paired_difference
from paceline.train.heldout import ExampleLosses


def general_change(folder: Path) -> Difference:
    """Paired change of the loss on general rows, from what `measure_forgetting` wrote into a run's eval folder."""
    return paired_difference(ExampleLosses.read(folder / "forgetting.parquet"), ExampleLosses.read(folder / "forgetting-base.parquet"))
