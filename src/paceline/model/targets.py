"""Which linears an adapter changes, and with which rank and scale: matched by name as PEFT does."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import regex  # type: ignore[import-untyped]

from paceline.config.expressions import compile_expression
from paceline.config.recipe import Recipe
from paceline.errors import ModelError, nearest
from paceline.model.initialization import takes_from_base

ALL_LINEAR = "all-linear"
# Seconds that all expressions of one setting may take: those of strangers' files can be made to take years.
TIME_LIMIT = 2.0


@dataclass(frozen=True)
class Target:
    """The rank of a linear's matrices and the factor of their product."""

    rank: int
    scale: float


def find_targets(
    recipe: Recipe, layers: Sequence[str], base: str, ends: Sequence[str] = ()
) -> dict[str, Target]:
    """The targets of a recipe among the linears of a base's layers and its `ends`, by full name, in order.

    The ends (output projection, embeddings) are targets where they are named; `all-linear` leaves them out.

    Raises:
        ModelError: a name, an expression or a layer that fits nothing, an expression that is none, or a kind
            of adapter that the ends cannot have.
    """
    names = [*layers, *ends]
    kinds = sorted({name.rsplit(".", 1)[-1] for name in names})
    if isinstance(recipe.target_modules, str) and recipe.target_modules.lower() == ALL_LINEAR:
        chosen = set(layers)
    else:
        chosen = _matching("target_modules", recipe.target_modules, names, base, kinds)
    if recipe.layers_to_transform is not None:
        # a module named in full is a target in any layer, as in PEFT
        chosen &= _of_layers(recipe, names, base) | set(recipe.target_modules)
    if recipe.exclude_modules:
        chosen -= _matching("exclude_modules", recipe.exclude_modules, names, base, kinds)
    if not chosen:
        raise ModelError(f"target_modules: no linear of {base} is left to adapt")
    ordered = [name for name in names if name in chosen]
    if at_end := [name for name in ends if name in chosen]:
        _refuse_at_end(recipe, at_end)
    ranks = _by_pattern("rank_pattern", recipe.rank_pattern, ordered, recipe.lora_r)
    alphas = _by_pattern("alpha_pattern", recipe.alpha_pattern, ordered, recipe.lora_alpha)
    return {name: Target(ranks[name], recipe.scale_of(ranks[name], alphas[name])) for name in ordered}


def _matching(
    setting: str, modules: list[str] | str, names: Sequence[str], base: str, kinds: list[str]
) -> set[str]:
    """Last parts of a name, or one regular expression over the whole of it; `all-linear`: every one."""
    if isinstance(modules, str):
        if matching := _fullmatches(setting, modules, names):
            return matching
        raise ModelError(
            f"{setting}: the expression {modules!r} matches no linear of {base}; "
            f"there are {', '.join(kinds)}, and {ALL_LINEAR} means all of them"
        )
    chosen: set[str] = set()
    for module in modules:
        matching = {name for name in names if name == module or name.endswith("." + module)}
        if not matching:
            raise ModelError(
                f"{setting}: no linear {module!r} in {base}{nearest(module, kinds)}; "
                f"there are {', '.join(kinds)}"
            )
        chosen |= matching
    return chosen


def _refuse_at_end(recipe: Recipe, names: list[str]) -> None:
    """Embeddings and output projection take plain LoRA only."""
    start = recipe.init_lora_weights
    odd = [
        ("use_dora", recipe.use_dora),
        (f"init_lora_weights {start}", takes_from_base(start)),
        ("loraplus_lr_ratio", recipe.loraplus_lr_ratio is not None),
        ("trainable_token_indices", recipe.trainable_token_indices is not None),
        ("new_tokens", bool(recipe.new_tokens)),
        ("modules_to_save", recipe.modules_to_save is not None),
    ]
    for setting, given in odd:
        if given:
            raise ModelError(
                f"target_modules: {', '.join(names)} (embeddings or output projection) take plain LoRA only, "
                f"not {setting}; take them out of target_modules, or {setting} out of the recipe"
            )


def _of_layers(recipe: Recipe, names: Sequence[str], base: str) -> set[str]:
    """The linears of `layers_to_transform`: their first number after one of `layers_pattern`, or any word."""
    given = recipe.layers_to_transform
    wanted = {given} if isinstance(given, int) else set(given or ())
    patterns = recipe.layers_pattern or [r"[^.]*"]
    patterns = [patterns] if isinstance(patterns, str) else patterns
    found: dict[str, int] = {}
    for pattern in patterns:
        lead = r".*?\." if pattern == r"[^.]*" else r"(?:^|.*?\.)"
        for name, index in _indices(rf"{lead}{pattern}\.(?P<idx>\d+)\.", names).items():
            found.setdefault(name, index)
    if missing := sorted(wanted - set(found.values())):
        raise ModelError(f"layers_to_transform: {base} has no layer {missing[0]} with a linear in it")
    return {name for name, index in found.items() if index in wanted}


def _by_pattern(
    setting: str, pattern: Mapping[str, int], names: Sequence[str], default: int
) -> dict[str, int]:
    """Each name's value: that of the first expression which fits its end."""
    found: dict[str, int] = {}
    for key, value in pattern.items():
        matching = _fullmatches(setting, rf"(.*\.)?({key})", names)
        if not matching:
            raise ModelError(f"{setting}: {key!r} fits none of the adapter's linears, such as {names[0]}")
        for name in matching:
            found.setdefault(name, value)
    return {name: found.get(name, default) for name in names}


def _fullmatches(setting: str, expression: str, names: Iterable[str]) -> set[str]:
    compiled, deadline = _compiled(setting, expression), time.monotonic() + TIME_LIMIT
    return {name for name in names if _match(setting, compiled, name, deadline, whole=True)}


def _indices(expression: str, names: Iterable[str]) -> dict[str, int]:
    compiled, deadline = _compiled("layers_pattern", expression), time.monotonic() + TIME_LIMIT
    matches = ((name, _match("layers_pattern", compiled, name, deadline, whole=False)) for name in names)
    return {name: int(match["idx"]) for name, match in matches if match}


def _compiled(setting: str, expression: str) -> regex.Pattern[str]:
    try:
        return compile_expression(expression)
    except ValueError as error:
        raise ModelError(f"{setting}: {error}") from error


def _match(
    setting: str, compiled: regex.Pattern[str], name: str, deadline: float, *, whole: bool
) -> regex.Match[str] | None:
    left = max(deadline - time.monotonic(), 1e-3)
    try:
        return compiled.fullmatch(name, timeout=left) if whole else compiled.match(name, timeout=left)
    except TimeoutError as error:
        raise ModelError(
            f"{setting}: the expression {compiled.pattern[:60]!r} takes too long; write a simpler one"
        ) from error
