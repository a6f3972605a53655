"""Whether a run is worse on general rows than the bare base."""

from pathlib import Path

from paceline.runs.losses import ExampleLosses
from paceline.stats.paired import Difference, paired_difference


def general_change(folder: Path) -> Difference:
    """Paired change of the loss on general rows, from what `measure_forgetting` wrote into a run's eval folder."""
    return paired_difference(
        ExampleLosses.read(folder / "forgetting.parquet"),
        ExampleLosses.read(folder / "forgetting-base.parquet"),
    )
