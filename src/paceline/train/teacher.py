"""Teachers of distilled runs: larger frozen models with the same vocabulary."""

from collections.abc import Callable, Sequence

from paceline.config.recipe import Recipe
from paceline.errors import UserError
from paceline.model.base import Base, load_base
from paceline.model.frozen import Storage
from paceline.train.prepare import Preparer
from paceline.train.states import FrozenStates


def load_teachers(
    recipes: Sequence[Recipe], preparer: Preparer, base: Base, say: Callable[[str], None]
) -> dict[tuple[str, str], FrozenStates]:
    """{(teacher, quantize): its hidden states on demand}, each model loaded once.

    Raises:
        UserError: a teacher whose tokens are not the base's.
    """
    found: dict[tuple[str, str], FrozenStates] = {}
    for recipe in recipes:
        if recipe.distill is None:
            continue
        name, storage = recipe.distill.teacher, Storage(recipe.distill.quantize)
        key = (name, storage.quantize)
        if key in found:
            continue
        mine, theirs = (preparer.chat(model).tokenizer.get_vocab() for model in (base.name, name))
        if odd := sorted(set(mine.items()) ^ set(theirs.items())):
            token = odd[0][0]
            raise UserError(
                f"distill.teacher {name!r} has another vocabulary than {base.name!r} ({len(odd):,} entries differ, first {token!r}); its distribution cannot be compared token by token"
            )
        say(f"loading the teacher {name}")
        found[key] = FrozenStates(load_base(name, base.device, storage))
    return found
