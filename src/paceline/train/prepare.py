"""What is known of a run before anything is spent: its data, its split, its length."""

from dataclasses import dataclass, field
from typing import Any

from paceline.config.recipe import Data, Recipe
from paceline.data.chat import Chat, load_tokenizer
from paceline.data.split import Split, split
from paceline.data.tokens import TokenDataset, load_tokens
from paceline.errors import UserError
from paceline.train.order import Plan, make_plan


@dataclass(frozen=True)
class Prepared:
    """A recipe with its tokenized data. `facts` are counts worth telling: rows, dropped, truncated, answers lost."""

    recipe: Recipe
    dataset: TokenDataset
    split: Split
    plan: Plan
    facts: dict[str, Any]


@dataclass
class Preparer:
    """Prepares recipes; runs that share a tokenizer and data share the tokenized table."""

    _chats: dict[str, Chat] = field(default_factory=dict)
    _tokens: dict[tuple[str, Data], TokenDataset] = field(default_factory=dict)

    def chat(self, base: str) -> Chat:
        if base not in self._chats:
            self._chats[base] = Chat(load_tokenizer(base))
        return self._chats[base]

    def tokens(self, base: str, data: Data) -> TokenDataset:
        # the split ratio does not change the tokens
        key = (base, data.model_copy(update={"eval_ratio": 0.5}))
        if key not in self._tokens:
            self._tokens[key] = load_tokens(data, self.chat(base))
        return self._tokens[key]

    def prepare(self, recipe: Recipe) -> Prepared:
        """Raises UserError where the data cannot train this recipe."""
        dataset = self.tokens(recipe.base, recipe.data)
        _refuse_all_long(recipe, dataset)
        parts = split(dataset, recipe.data.eval_ratio, recipe.max_length)
        facts = _facts(recipe, dataset, parts)
        return Prepared(recipe, dataset, parts, make_plan(recipe, len(parts.train)), facts)


def _refuse_all_long(recipe: Recipe, dataset: TokenDataset) -> None:
    if (dataset.lengths > recipe.max_length).all():
        raise UserError(
            f"data {recipe.data.source!r}: all {len(dataset)} examples are longer than max_length {recipe.max_length} "
            f"(the shortest has {dataset.lengths.min()} tokens); raise it with --max-length"
        )


def _facts(recipe: Recipe, dataset: TokenDataset, parts: Split) -> dict[str, Any]:
    return {
        "examples": len(dataset), "train": len(parts.train), "eval": len(parts.eval), "dropped_no_assistant": len(dataset.dropped),
        "truncated": int((dataset.lengths > recipe.max_length).sum()),
        "answers_lost": int((dataset.column("first") >= recipe.max_length).sum()),
    }  # fmt: skip
