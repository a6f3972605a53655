"""Teachers of distilled runs: larger frozen models with the same vocabulary."""

from collections.abc import Callable, Sequence

from paceline.config.recipe import Recipe
from paceline.errors import ModelError
from paceline.model.base import Base, load_base
from paceline.model.quantization import BaseFormat
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.prepare import Preparer

# {(teacher, quantize): its hidden states on demand}.
Teachers = dict[tuple[str, str], HiddenStateCache]


def load_teachers(
    recipes: Sequence[Recipe], preparer: Preparer, base: Base, log: Callable[[str], None]
) -> Teachers:
    """The models that recipes learn from, each loaded once.

    Raises:
        ModelError: a teacher whose tokens are not the base's.
    """
    found: Teachers = {}
    for recipe in recipes:
        if recipe.distill is None:
            continue
        name, base_format = recipe.distill.teacher, BaseFormat(recipe.distill.quantize)
        key = (name, base_format.quantize)
        if key in found:
            continue
        mine, theirs = (preparer.chat(model).tokenizer.get_vocab() for model in (base.name, name))
        if odd := sorted(set(mine.items()) ^ set(theirs.items())):
            token = odd[0][0]
            raise ModelError(
                f"distill.teacher {name!r} has another vocabulary than {base.name!r} ({len(odd):,} "
                f"entries differ, first {token!r}); its distribution cannot be compared token by token"
            )
        log(f"loading the teacher {name}")
        found[key] = HiddenStateCache(load_base(name, base.device, base_format))
    return found
