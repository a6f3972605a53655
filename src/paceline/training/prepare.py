"""What is known of a run before anything is spent: its data, its split, its length."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from paceline.config.recipe import Recipe
from paceline.data.bad_rows import count_kinds
from paceline.data.chat import Chat, load_chat, token_ids
from paceline.data.clean import clean
from paceline.data.digest import rows_digest
from paceline.data.marginal import marginal_loss
from paceline.data.packing import pack
from paceline.data.phases import choose_tasks
from paceline.data.progress import telling
from paceline.data.resample import resample
from paceline.data.split import Split, split
from paceline.data.tokens import TokenDataset, load_tokens, write_bad_rows
from paceline.errors import DataError
from paceline.model.quantization import BaseFormat
from paceline.model.token_rows import refuse_unknown_tokens
from paceline.runs.events import DataFacts, TokenLengths
from paceline.training.order import StepPlan, make_step_plan
from paceline.training.schedule import learning_rate

Item = TypeVar("Item")
# What decides a run's examples: base, new tokens, data, loss_on, max_length.
_Sample = tuple[str, tuple[str, ...], str, str, int]


def group_by_base(
    items: Iterable[Item], recipe: Callable[[Item], Recipe]
) -> dict[tuple[str, BaseFormat], list[Item]]:
    """Things that have a recipe, by (base, how it is stored), in order: what shares both trains together."""
    found: dict[tuple[str, BaseFormat], list[Item]] = {}
    for item in items:
        found.setdefault((recipe(item).base, BaseFormat.of(recipe(item))), []).append(item)
    return found


@dataclass(frozen=True)
class Prepared:
    """A recipe with its tokenized data.

    `facts` are counts worth telling: rows, dropped, truncated, answers lost. `texts` are the examples and
    split before packing; the same as `dataset` and `split` where nothing is packed.
    """

    recipe: Recipe
    dataset: TokenDataset
    split: Split
    plan: StepPlan
    facts: DataFacts
    texts: tuple[TokenDataset, Split]

    def summary(self) -> str:
        """The data in one line: what trains, what is held out, what was cut or removed."""
        facts = self.facts
        mixture = ", ".join(f"{label} {count:,}" for label, count in facts.train_mixture.items())
        of_each = f" ({mixture})" if len(facts.train_mixture) > 1 else ""
        clauses = [f"{facts.train:,} examples train{of_each}", f"{facts.eval:,} are held out"]
        if facts.packed_texts is not None:
            clauses = [
                f"{facts.train:,} packed examples of {self.recipe.max_length} tokens train, made of "
                f"{facts.packed_texts:,} texts{of_each}",
                f"{facts.eval:,} texts are held out, in {len(self.split.eval):,} windows",
            ]
        if (weights := self.dataset.weights) is not None:
            trained = weights[self.split.train]
            clauses += [f"rows weigh {trained.min():g} to {trained.max():g}"]
        counts = {
            f"cut to {self.recipe.max_length} tokens": facts.truncated,
            "lose their whole answer": facts.answers_lost,
        }
        clauses += [f"{count:,} {what}" for what, count in counts.items() if count]
        clauses += [f"{count:,} removed: {rule}" for rule, count in facts.removed.items() if count]
        clauses += [f"{count:,} rows {kind} dropped" for kind, count in facts.bad_rows.items()]
        clauses += [f"listed in {facts.bad_rows_file}"] if facts.bad_rows_file else []
        clauses += [f"columns not used: {', '.join(facts.unused_columns)}"] if facts.unused_columns else []
        return "\n".join(["data: " + "; ".join(clauses), *(f"data: {note}" for note in facts.notes)])


@dataclass
class Preparer:
    """Prepares recipes; runs that share a tokenizer and data share the tokenized table.

    `say` is told now and then how many rows have been read and tokenized.
    """

    say: Callable[[str], None] = lambda line: None
    _chats: dict[tuple[str, str | None, tuple[str, ...]], Chat] = field(default_factory=dict)
    _tokens: dict[tuple[str, tuple[str, ...], str, str], TokenDataset] = field(default_factory=dict)
    _resampled: dict[_Sample, tuple[TokenDataset, Split]] = field(default_factory=dict)
    _digests: dict[tuple[int, str, bytes], tuple[TokenDataset, str]] = field(default_factory=dict)
    _packed: dict[tuple[_Sample, str], tuple[TokenDataset, Split]] = field(default_factory=dict)

    def chat(self, base: str, template: str | None = None, new_tokens: Sequence[str] = ()) -> Chat:
        key = (base, template, tuple(new_tokens))
        if key not in self._chats:
            self._chats[key] = load_chat(*key)
        return self._chats[key]

    def chat_of(self, recipe: Recipe) -> Chat:
        """The tokenizer and template that a recipe's runs have."""
        return self.chat(recipe.base, recipe.data.chat_template, recipe.new_tokens)

    def tokens(self, recipe: Recipe) -> TokenDataset:
        # neither the split, nor what is cleaned, drawn anew or packed, changes the tokens of the plain sample
        data = recipe.data.model_dump_json(exclude={"eval_ratio", "clean", "resample", "packing"})
        key = (recipe.base, tuple(recipe.new_tokens), data, "assistant")
        if key not in self._tokens:
            with telling(self.say):
                self._tokens[key] = load_tokens(recipe.data, self.chat_of(recipe))
        own = (*key[:3], recipe.loss_on)
        if own not in self._tokens:
            self._tokens[own] = replace(self._tokens[key], loss_on=recipe.loss_on)
        return self._tokens[own]

    def rows_digest(self, dataset: TokenDataset, examples: NDArray[np.int64]) -> str:
        """`rows_digest` of some examples, once for all runs that share them."""
        key = (id(dataset.table), dataset.loss_on, hashlib.sha256(examples.tobytes()).digest())
        if key not in self._digests:
            self._digests[key] = dataset, rows_digest(dataset, examples)
        return self._digests[key][1]

    def prepare(self, recipe: Recipe, on_progress: Callable[[int], None] = lambda count: None) -> Prepared:
        """The recipe's examples, split and cleaned.

        Args:
            on_progress: called with the number of examples that cleaning has read since it was last called.

        Raises:
            DataError: the data cannot train this recipe.
            ModelError: trained rows of tokens that the tokenizer does not have.
        """
        refuse_unknown_tokens(recipe, self.chat_of(recipe).tokenizer)
        dataset = self.tokens(recipe)
        if not recipe.data.packing:
            _refuse_all_long(recipe, dataset)
        parts = split(dataset, recipe.data.eval_ratio, recipe.max_length)
        held_out = parts.eval
        removed: dict[str, int] = {}
        if dataset.weights is not None:
            learned = _with_weight(dataset, parts.train)
            removed["weight 0"] = len(parts.train) - len(learned)
            parts = Split(learned, parts.eval)
        if recipe.data.clean is not None:
            cleaned = clean(dataset, recipe.data.clean, parts, on_progress)
            parts, removed = cleaned.split, removed | cleaned.removed
        if recipe.data.resample is not None:
            dataset, parts = self._resample(recipe, dataset, parts, held_out)
        if recipe.train_tasks is not None:
            chosen = choose_tasks(dataset.tasks(parts.train), recipe.train_tasks, recipe.phases)
            parts = Split(parts.train[chosen], parts.eval)
        for side, name in ((parts.train, "train"), (parts.eval, "hold out")):
            if not len(side):
                raise DataError(
                    f"data {recipe.data.source!r}: no example is left to {name}; "
                    "check data.clean, train_tasks and the rows' weights"
                )
        texts = (dataset, parts)
        if recipe.data.packing:
            dataset, parts = self._pack(recipe, dataset, parts)
        plan = make_step_plan(recipe, len(parts.train))
        learning_rate(recipe, plan)  # refuses a schedule that does not fit the steps
        notes = [*dataset.notes, *_unseen_tokens(recipe, dataset, parts, self.chat_of(recipe))]
        facts = _facts(recipe, dataset, parts, removed, texts, notes)
        return Prepared(recipe, dataset, parts, plan, facts, texts)

    def _pack(self, recipe: Recipe, dataset: TokenDataset, parts: Split) -> tuple[TokenDataset, Split]:
        """The packed examples; runs on the same texts share them."""
        key = (_sample(recipe), json.dumps([recipe.train_tasks, recipe.phases]))
        if key not in self._packed:
            self._packed[key] = pack(dataset, parts, recipe.max_length)
        return self._packed[key]

    def _resample(
        self, recipe: Recipe, dataset: TokenDataset, parts: Split, held_out: NDArray[np.int64]
    ) -> tuple[TokenDataset, Split]:
        """The plain sample's held-out examples with other training ones; see `resample`."""
        key = _sample(recipe)

        def keep(grown: TokenDataset, drawn: Split) -> NDArray[np.int64]:
            short = drawn.train[grown.first[drawn.train] < recipe.max_length]
            usable = Split(_with_weight(grown, short), drawn.eval)
            if recipe.data.clean is None:
                return usable.train
            return clean(grown, recipe.data.clean, usable, keep_held_out=True).split.train

        if key not in self._resampled:
            chat = self.chat_of(recipe)
            self._resampled[key] = resample(recipe.data, chat, dataset, parts, held_out, keep)
        return self._resampled[key]


def _sample(recipe: Recipe) -> _Sample:
    data = recipe.data.model_dump_json()
    return recipe.base, tuple(recipe.new_tokens), data, recipe.loss_on, recipe.max_length


def _with_weight(dataset: TokenDataset, examples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some examples that have a weight: one of 0 is not learned."""
    return examples if dataset.weights is None else examples[dataset.weights[examples] > 0]


def _unseen_tokens(recipe: Recipe, dataset: TokenDataset, parts: Split, chat: Chat) -> list[str]:
    """A line about the tokens whose rows are trained and that no training example has."""
    given = recipe.trainable_token_indices or []
    listed = list(given.values()) if isinstance(given, dict) else [given]
    trained = {*(token for ids in listed for token in ids), *token_ids(chat.tokenizer, recipe.new_tokens)}
    if not trained:
        return []
    seen: set[int] = set()
    for ids, _ in dataset.examples(parts.train):
        seen.update(np.unique(ids[: recipe.max_length]).tolist())
    unseen = sorted(trained - seen)
    if not unseen:
        return []
    named = ", ".join(repr(chat.tokenizer.convert_ids_to_tokens(token)) for token in unseen[:5])
    more = ", …" if len(unseen) > 5 else ""
    return [f"tokens with trained rows that no training example has ({len(unseen)}): {named}{more}"]


def _refuse_all_long(recipe: Recipe, dataset: TokenDataset) -> None:
    if (dataset.lengths > recipe.max_length).all():
        raise DataError(
            f"data {recipe.data.source!r}: all {len(dataset)} examples are longer than max_length "
            f"{recipe.max_length} (the shortest has {dataset.lengths.min()} tokens); "
            "raise it with --max-length"
        )


def _facts(
    recipe: Recipe,
    dataset: TokenDataset,
    parts: Split,
    removed: dict[str, int],
    texts: tuple[TokenDataset, Split],
    notes: list[str],
) -> DataFacts:
    plain, sides = texts
    p50, p95, p99 = (int(np.percentile(dataset.lengths, p)) for p in (50, 95, 99))
    return DataFacts(
        length=TokenLengths(p50=p50, p95=p95, p99=p99, max=int(dataset.lengths.max())),
        examples=len(dataset),
        mixture=dataset.counts,
        dropped_no_assistant=len(dataset.dropped),
        truncated=int((dataset.lengths > recipe.max_length).sum()),
        answers_lost=int((dataset.first >= recipe.max_length).sum()),
        train=len(parts.train),
        eval=len(sides.eval),
        train_mixture=_mixture(plain, sides.train),
        removed=removed,
        bad_rows=count_kinds(dataset.bad),
        bad_rows_file=str(listed) if (listed := write_bad_rows(dataset)) else None,
        unused_columns=list(dataset.unused),
        notes=notes,
        marginal_loss=marginal_loss(dataset, parts.train, parts.eval, recipe.max_length),
        packed_texts=len(sides.train) if dataset.packed else None,
    )


def _mixture(dataset: TokenDataset, examples: np.ndarray[Any, Any]) -> dict[str, int]:
    counts = np.bincount(dataset.parts[examples], minlength=len(dataset.counts))
    return {label: int(count) for label, count in zip(dataset.counts, counts, strict=True)}
