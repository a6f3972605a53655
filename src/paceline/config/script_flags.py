"""Flags of a published script (Qwen3-1.7B on T-Wix) whose words mean something else than Paceline's own.

A layer of fields that holds one of `MARKS`, which no other tool has, is read as that script read it: `simple`
was its reward model, and its early stop watched MT-Bench. Everywhere else `early_stop_patience` has the
meaning that it has in transformers, and `simple` is Paceline's judge of that name.
"""

from typing import Any, NamedTuple

from paceline.config.fields import FieldPath, Fields
from paceline.config.recipe import Recipe

MARKS = ("mtbench_backend", "mtbench_ru", "mtbench_questions_limit")
REWARD_MODEL = "Skywork/Skywork-Reward-V2-Qwen3-0.6B"
_MTBENCH = ("eval", "mtbench")


class Translated(NamedTuple):
    """Values of fields, each with the flag that it comes from, and what is to be told about them."""

    values: list[tuple[FieldPath, Any, str]]
    notes: list[str]


def take_script_flags(fields: Fields) -> Translated:
    """Takes what means something else in that script out of a layer that is in its words.

    Raises:
        ValueError: an early stop without the steps between its checks.
    """
    mark = next((name for name in MARKS if fields.get(name) is not None), None)
    if mark is None:
        return Translated([], [])
    judge, early_stop = _judge(fields, mark), _early_stop(fields, mark)
    return Translated(judge.values + early_stop.values, judge.notes + early_stop.notes)


def early_stop_note(recipe: Recipe) -> list[str]:
    """Which of two meanings an early stop has, where a recipe leaves room for both."""
    if recipe.early_stop_patience is None or recipe.eval.mtbench is None:
        return []
    return [
        f"early_stop_patience {recipe.early_stop_patience} watches the held-out loss, as in transformers; "
        "eval.mtbench.during.patience watches MT-Bench"
    ]


def _judge(fields: Fields, mark: str) -> Translated:
    backend = fields.get("mtbench_backend")
    if backend is None:
        note = (
            f"{mark}: without mtbench_backend the judge is the recipe's own; the script of these flags "
            "graded with a reward model, which is `mtbench_backend simple`"
        )
        named = fields.get("mtbench_judge") or _nested(fields, "judge")
        return Translated([], [] if named else [note])
    if backend != "simple":
        return Translated([], [])
    del fields["mtbench_backend"]
    model = fields.get("judge_model") or _nested(fields, "judge_model") or REWARD_MODEL
    note = (
        f"mtbench_backend simple: judge `reward` with {model}, as in the script of this flag; "
        "`mtbench_judge simple` is Paceline's own"
    )
    values = [((*_MTBENCH, "judge"), "reward"), ((*_MTBENCH, "judge_model"), model)]
    return Translated([(path, value, "mtbench_backend") for path, value in values], [note])


def _early_stop(fields: Fields, mark: str) -> Translated:
    patience = fields.get("early_stop_patience")
    if patience is None:
        return Translated([], [])
    steps = fields.get("eval_steps")
    if steps is None:
        raise ValueError(
            f"early_stop_patience beside {mark} watches MT-Bench every eval_steps, as in the script of these "
            "flags; give eval_steps too, or early_stopping_patience for the held-out loss"
        )
    del fields["early_stop_patience"]
    questions = fields.get("mtbench_questions_limit") or 0
    note = (
        f"early_stop_patience {patience}: watches MT-Bench every {steps} steps ({questions or 'all'} "
        "questions), as in the script of these flags; early_stopping_patience watches the held-out loss"
    )
    values = {"steps": steps, "questions": questions, "patience": patience}
    named = [(_during(name), value, "early_stop_patience") for name, value in values.items()]
    return Translated(named, [note])


def _during(name: str) -> FieldPath:
    return (*_MTBENCH, "during", name)


def _nested(fields: Fields, name: str) -> Any:
    """A field of `eval.mtbench` as the layer itself nests it."""
    place: Any = fields
    for part in (*_MTBENCH, name):
        place = place.get(part) if isinstance(place, dict) else None
    return place
