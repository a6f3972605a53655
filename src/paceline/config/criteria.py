"""What a study's authors say in advance about its figures: criteria, and what a hypothesis expects."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from paceline.errors import ConfigError, nearest

# Figures of one recipe, and in which unit a criterion states them.
FIGURES = {
    "eval_loss": "held-out loss, nats a token",
    "eval_loss_drop": "how much lower it is than the base's",
    "perplexity": "exp of the held-out loss",
    "token_accuracy": "held-out token accuracy, percent",
    "token_accuracy_gain": "how much higher it is than the base's, points",
    "eval_loss_rises": "how often an evaluation's loss was above the one before, the base's first",
    "train_loss_drop": "from the first logged loss to the last (`@500`: by step 500), nats a token",
    "grad_norm": "the smallest logged gradient norm",
    "mtbench": "MT-Bench average, rating points",
    "mtbench_gain": "how much higher it is than the base's, rating points",
    "mtbench_reward": "MT-Bench average of a reward model's raw scores",
    "mtbench_reward_gain": "how much higher it is than the base's, in raw scores",
}
# Figures in which a recipe can be held against another one.
COMPARED = ("eval_loss", "mtbench")
# Paceline's own judges that rate from 1 to 10; those of other packages may give raw scores too.
_RATING_JUDGES = ("openai", "local", "simple")
_FORM = re.compile(r"(?P<figure>\w+)(@(?P<by>\d+))?\s*(?P<sign>[<>])\s*(?P<bound>\S.*)")


@dataclass(frozen=True)
class Criterion:
    """`figure < bound` or `figure > bound`, where the bound is a number, or the name of another recipe.

    `by` is the last step whose logged loss counts.
    """

    figure: str
    sign: str
    bound: float | str
    by: int | None = None

    def __str__(self) -> str:
        bound = f"{self.bound:g}" if isinstance(self.bound, float) else self.bound
        return f"{self.figure}{'' if self.by is None else f'@{self.by}'} {self.sign} {bound}"


def parse_criterion(text: Any, where: str) -> Criterion:
    """A criterion as a person writes it: `perplexity < 6`.

    Raises:
        ConfigError: another form, an unknown figure.
    """
    found = _FORM.fullmatch(str(text).strip())
    if not found:
        raise ConfigError(f"{where}: {text!r} is no criterion; write one as `perplexity < 6`")
    figure = found["figure"]
    if figure not in FIGURES:
        known = ", ".join(FIGURES)
        raise ConfigError(f"{where}: no figure {figure!r}{nearest(figure, FIGURES)}; there are {known}")
    by = int(found["by"]) if found["by"] else None
    if by is not None and figure != "train_loss_drop":
        raise ConfigError(f"{where}: {text!r}: `@{by}` goes with train_loss_drop alone")
    try:
        bound: float | str = float(found["bound"])
    except ValueError:
        bound = found["bound"].strip()
    return Criterion(figure, found["sign"], bound, by)


def parse_success(value: Any, where: str) -> tuple[Criterion, ...]:
    """A list of criteria with numbers; one by itself may stand without a list.

    Raises:
        ConfigError: as `parse_criterion`; a bound that is no number.
    """
    listed = value if isinstance(value, list) else [value]
    criteria = tuple(parse_criterion(text, where) for text in listed)
    for criterion in criteria:
        if isinstance(criterion.bound, str) or not math.isfinite(criterion.bound):
            raise ConfigError(f"{where}: {criterion}: a success criterion has a number; see `expect`")
    return criteria


def check_scale(criteria: Iterable[Criterion], judge: str, where: str) -> None:
    """Refuses criteria on MT-Bench in another scale than its judge's: `reward` gives raw scores.

    The rating from 1 to 10 that is made of a raw score does not keep the order, so it decides nothing.

    Raises:
        ConfigError: rating points of the judge `reward`, or raw scores of a judge that rates.
    """
    for criterion in criteria:
        figure, is_raw = criterion.figure, criterion.figure.startswith("mtbench_reward")
        if judge == "reward" and figure in ("mtbench", "mtbench_gain"):
            other = figure.replace("mtbench", "mtbench_reward")
            raise ConfigError(
                f"{where}: {criterion}: the judge `reward` is read by its raw scores, not in rating points; "
                f"write {other}"
            )
        if judge in _RATING_JUDGES and is_raw:
            other = figure.replace("mtbench_reward", "mtbench")
            raise ConfigError(
                f"{where}: {criterion}: the judge `{judge}` gives ratings, no raw scores; write {other}"
            )


def parse_expectation(value: Any, where: str, names: list[str]) -> Criterion:
    """What a hypothesis expects of its recipe against another: `eval_loss < baseline`.

    Raises:
        ConfigError: as `parse_criterion`; a figure that is not compared; no such recipe before this one.
    """
    criterion = parse_criterion(value, where)
    if criterion.figure not in COMPARED:
        known = " and ".join(COMPARED)
        raise ConfigError(f"{where}: {criterion}: recipes are held against one another in {known}")
    if criterion.bound not in names:
        bound = str(criterion.bound)
        raise ConfigError(f"{where}: {criterion}: no recipe {bound!r} before this one{nearest(bound, names)}")
    return criterion
