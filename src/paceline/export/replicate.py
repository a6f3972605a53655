"""Which replicate of a recipe leaves the house."""

from pathlib import Path

from paceline.errors import RunError
from paceline.export.hub import Log, silent
from paceline.runs.directory import RunDirectory
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import read_study_record, recipe_groups

MEDIAN = "median"


def choose_replicate(run: Path, replicate: str = MEDIAN, log: Log = silent) -> Path:
    """The run directory that stands for a recipe; any other run stands for itself.

    A recipe is named by its first replicate's directory. The median is that of the held-out losses; of an
    even number the higher of the two in the middle, so that nothing is picked for being good.

    Args:
        replicate: `median`, or a seed.
        log: is told which one it is.

    Raises:
        RunError: no replicate with this seed, or one that has not finished.
    """
    path = run.resolve()
    entries = read_study_record(path.parent).runs
    names = [entry.name for entry in entries if entry.recipe_name == path.name]
    if path.name not in names or len(names) == 1:
        if replicate != MEDIAN and RunDirectory(run).recipe().seed != _seed(replicate):
            raise RunError(f"{run}: one run with seed {RunDirectory(run).recipe().seed}, not {replicate}")
        return run
    (group,) = recipe_groups(RunDirectory(run.parent / name) for name in names)
    by_seed = dict(zip(group.seeds, group.directories, strict=True))
    if replicate != MEDIAN:
        seed = _seed(replicate)
        if seed not in by_seed:
            seeds = ", ".join(map(str, by_seed))
            raise RunError(f"{run}: no replicate with seed {replicate}; there are {seeds}, and {MEDIAN}")
        return by_seed[seed].path
    if unfinished := [d.name for d in by_seed.values() if d.status().state != "finished"]:
        raise RunError(
            f"{run}: {', '.join(unfinished)} not finished, so no replicate is the median yet; "
            "name one by its seed with --replicate"
        )
    losses = {
        seed: ExampleLosses.read(d.eval / "final.parquet").summary().loss for seed, d in by_seed.items()
    }
    chosen = sorted(losses, key=lambda seed: losses[seed])[len(losses) // 2]
    log(
        f"{path.name} has {len(losses)} replicates: this is {by_seed[chosen].name} (seed {chosen}), "
        "the median by held-out loss; another one: --replicate SEED"
    )
    return by_seed[chosen].path


def _seed(text: str) -> int:
    if not text.isdigit():
        raise RunError(f"--replicate {text}: expected {MEDIAN} or a seed")
    return int(text)
