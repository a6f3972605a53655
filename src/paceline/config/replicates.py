"""Replicates: a run trained several times, with nothing changed but its seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paceline.config.fields import Fields
from paceline.config.recipe import Recipe
from paceline.config.strict import LARGEST_SEED
from paceline.config.study import Run
from paceline.errors import ConfigError

# Each is a run of its own.
MOST_SEEDS = 1000
_EXPECTED = "expected a count (seeds: 3), a list (seeds: [1, 2, 3]) or {count: 3, resample: true}"


@dataclass(frozen=True)
class Seeds:
    """Which seeds a run is trained with.

    Args:
        count: how many there are; the first is the recipe's own seed, the others follow it.
        listed: the seeds themselves, where they were listed.
        resample: draw other training rows for each replicate but the first.
    """

    count: int = 1
    listed: tuple[int, ...] = ()
    resample: bool = False

    def of(self, recipe: Recipe) -> tuple[int, ...]:
        """The seeds of a recipe's replicates, in order."""
        return self.listed or tuple(range(recipe.seed, recipe.seed + self.count))


def read_seeds(value: Any, where: str) -> Seeds:
    """What `seeds` says.

    Raises:
        ConfigError: neither a count from 1, nor distinct seeds from 0, nor a mapping of count and resample.
    """
    if isinstance(value, dict):
        if unknown := [key for key in value if key not in ("count", "resample")]:
            raise ConfigError(f"{where}: seeds has no field {unknown[0]!r}; it has count and resample")
        resample = value.get("resample", False)
        if not isinstance(resample, bool):
            raise ConfigError(f"{where}: seeds.resample is {resample!r}; expected true or false")
        return Seeds(_count(value.get("count"), "seeds.count", where), resample=resample)
    if isinstance(value, list | tuple):
        return Seeds(len(value), _listed(value, where))
    return Seeds(_count(value, "seeds", where))


def read_noise(value: Any, where: str) -> Seeds:
    """What `noise` says: with how many seeds the baseline alone is trained.

    Raises:
        ConfigError: not a count from 2; one seed shows no noise.
    """
    seeds = Seeds(_count(value, "noise", where))
    if seeds.count < 2:
        raise ConfigError(f"{where}: noise is {value}; the baseline's noise needs at least 2 seeds")
    return seeds


def parse_seeds(text: str | None) -> Seeds | None:
    """What the flag --seeds says: 3, or 1,2,3; None where it is not given.

    Raises:
        ConfigError: as `read_seeds`.
    """
    if text is None:
        return None
    parts = text.strip("[]").split(",")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        raise ConfigError(f"--seeds {text}: expected a count (3) or seeds (1,2,3)") from None
    return read_seeds(numbers if len(parts) > 1 or text.startswith("[") else numbers[0], "flags")


def with_seeds(study: Fields, seeds: Seeds) -> Fields:
    """The content of a study's file with these seeds for every run, in place of what it says."""
    runs = [{key: value for key, value in run.items() if key != "seeds"} for run in study["runs"]]
    rest = {key: value for key, value in study.items() if key != "noise"}
    return {**rest, "runs": runs, "seeds": list(seeds.listed) or seeds.count}


def replicates(run: Run, seeds: Seeds, earlier: Sequence[Run] = ()) -> list[Run]:
    """A run's replicates: the first under the run's own name, the others under `<name>-seed<seed>`.

    A replicate of a run that starts from an earlier run starts from that one's replicate of the same seed
    where there is one. A first replicate whose seed was not listed stays as it is written, so that a study
    begun with one seed goes on with several.

    Args:
        earlier: the study's runs before this one, replicates included.
    """
    parents = {
        other.recipe.seed: other.name for other in earlier if other.recipe_name == run.recipe.init_from
    }
    made = []
    for place, seed in enumerate(seeds.of(run.recipe)):
        recipe = run.recipe.model_copy(update={"seed": seed})
        if (place > 0 or seeds.listed) and seed in parents:
            recipe = recipe.model_copy(update={"init_from": parents[seed]})
        if place == 0:
            made.append(run.model_copy(update={"recipe": recipe}))
            continue
        if seeds.resample:
            data = recipe.data.model_copy(update={"resample": seed})
            recipe = recipe.model_copy(update={"data": data})
        name = f"{run.name}-seed{seed}"
        made.append(run.model_copy(update={"name": name, "recipe": recipe, "replicate_of": run.name}))
    return made


def without_seed(recipe: Recipe) -> Recipe:
    """The recipe without what tells its replicates apart: equal for all of them."""
    data = recipe.data.model_copy(update={"resample": None})
    return recipe.model_copy(update={"seed": 0, "init_from": None, "data": data})


def _count(value: Any, field: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{where}: {field} is {value!r}; {_EXPECTED}")
    if value < 1:
        raise ConfigError(f"{where}: {field} is {value}; a run is trained with at least one seed")
    if value > MOST_SEEDS:
        raise ConfigError(f"{where}: {field} is {value}; a run is trained with at most {MOST_SEEDS:,} seeds")
    return value


def _listed(values: Sequence[Any], where: str) -> tuple[int, ...]:
    if not values:
        raise ConfigError(f"{where}: seeds is an empty list; {_EXPECTED}")
    if len(values) > MOST_SEEDS:
        raise ConfigError(f"{where}: seeds lists {len(values):,}; a run has at most {MOST_SEEDS:,}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_SEED:
            raise ConfigError(
                f"{where}: seeds holds {value!r}; a seed is a whole number from 0 to {LARGEST_SEED}"
            )
        if list(values).count(value) > 1:
            raise ConfigError(
                f"{where}: seeds holds {value} twice; two such replicates would be the same run"
            )
    return tuple(values)
