"""What a comparison has to say of runs that ended early, failed or are missing, and of unequal lengths."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from paceline.comparison.finished import other_bases
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.study import RecipeGroup, recipe_groups


@dataclass(frozen=True)
class Caveat:
    """A sentence, and the recipes that it concerns."""

    text: str
    recipes: tuple[str, ...]


def caveats(directories: Sequence[RunDirectory], finished: Collection[str]) -> list[Caveat]:
    """How runs ended that did not train to their end, which recipes lack seeds, and what is unequal.

    Args:
        directories: all runs of the study, finished or not.
        finished: names of the runs that have a result.
    """
    groups = recipe_groups(directories)
    statuses = {directory.name: directory.status() for directory in directories}
    said = [
        Caveat(f"{directory.name}: {ending}.", (group.name,))
        for group in groups
        for directory in group.directories
        if (ending := _ending(statuses[directory.name], directory.name in finished))
    ]
    done = {group.name: [d.name for d in group.directories if d.name in finished] for group in groups}
    for group in groups:
        if 0 < len(done[group.name]) < len(group.directories):
            others = [name for name, runs in done.items() if runs and name != group.name]
            said.append(_seeds_missing(group, len(done[group.name]), others))
    steps = {name: sorted(statuses[run].step for run in runs) for name, runs in done.items() if runs}
    if len({count for counts in steps.values() for count in counts}) > 1:
        said.append(_unequal(steps))
    compared = [group for group in groups if done[group.name]]
    if bases := other_bases(compared):
        said.append(_other_bases(bases, compared[0].name))
    return said


def _ending(status: RunStatus, finished: bool) -> str:
    """What kept a run from its last step, or from a result; empty: nothing."""
    if finished:
        return status.ending if status.stopped_early else ""
    return status.ending or f"{status.state}, no result"


def _seeds_missing(group: RecipeGroup, done: int, others: Sequence[str]) -> Caveat:
    text = f"{group.name}: {done} of {len(group.directories)} seeds have a result; its figures are of these"
    if others:
        text += f", and so is every comparison with it ({', '.join(others)})"
    return Caveat(f"{text}.", (group.name, *others))


def _other_bases(others: Mapping[str, str], baseline: str) -> Caveat:
    bases = ", ".join(f"{name} {base}" for name, base in others.items())
    return Caveat(
        f"Not all train the base of {baseline} ({bases}): a difference between bases is that of base and "
        f"recipe together, and the bare base shown is {baseline}'s.",
        (baseline, *others),
    )


def _unequal(steps: dict[str, list[int]]) -> Caveat:
    lengths = ", ".join(
        f"{name} {counts[0]:,}" + (f" to {counts[-1]:,}" if counts[0] < counts[-1] else "")
        for name, counts in steps.items()
    )
    text = f"Not all were trained for as many steps ({lengths})"
    if len(steps) > 1:
        text += ": what differs between recipes may be due to that"
    return Caveat(f"{text}.", tuple(steps))
