"""The digest of rows: theirs, and in their order."""

from dataclasses import replace
from typing import Any

import numpy as np
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.data.chat import Chat, load_tokenizer
from paceline.data.digest import rows_digest
from paceline.data.tokenizer_digest import template_digest, tokenizer_digest
from paceline.data.tokens import TokenDataset

Row = tuple[list[int], list[int], int, str]


def dataset(rows: list[Row]) -> TokenDataset:
    columns: dict[str, Any] = {
        "input_ids": [ids for ids, _, _, _ in rows],
        "mask": [[bit for _, bit in zip(ids, mask * len(ids), strict=False)] for ids, mask, _, _ in rows],
        "row": [row for _, _, row, _ in rows],
        "task": [task for _, _, _, task in rows],
    }
    parts = np.zeros(len(rows), dtype=np.int64)
    return TokenDataset(Dataset.from_dict(columns), parts, ["s:train"], {"s": len(rows)}, [], "f")


def digest(rows: list[Row]) -> str:
    return rows_digest(dataset(rows), np.arange(len(rows)))


def test_weights_count_where_rows_have_them() -> None:
    rows: list[Row] = [([1, 2], [1], 0, "a"), ([3], [1], 1, "a")]
    plain = dataset(rows)

    def weighed(*weights: float) -> str:
        table = plain.table.add_column("weight", list(weights))
        return rows_digest(replace(plain, table=table, weighted=True), np.arange(2))

    assert len({digest(rows), weighed(1.0, 2.0), weighed(2.0, 1.0)}) == 3


IDS = st.lists(st.integers(0, 3), min_size=1, max_size=4)
ROWS = st.lists(
    st.tuples(
        IDS, st.lists(st.integers(0, 1), min_size=1, max_size=1), st.integers(0, 3), st.sampled_from("ab")
    ),
    min_size=1,
    max_size=4,
)


def content(rows: list[Row]) -> list[Any]:
    """What the digest is of: the mask is as long as the ids."""
    return [(ids, mask * len(ids), row, task) for ids, mask, row, task in rows]


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_it_is_the_same_for_the_same_rows_only(one: list[Row], other: list[Row]) -> None:
    assert (digest(one) == digest(other)) == (content(one) == content(other))


def test_a_token_that_moves_over_the_border_of_two_rows_is_seen() -> None:
    assert digest([([1, 2], [1], 0, "a"), ([3], [1], 1, "a")]) != digest(
        [([1], [1], 0, "a"), ([2, 3], [1], 1, "a")]
    )


def test_order_counts_and_batches_do_not() -> None:
    rows: list[Row] = [([i, i + 1], [1], i, "a") for i in range(2500)]
    whole = dataset(rows)
    order = np.random.default_rng(0).permutation(2500)
    assert rows_digest(whole, order) == digest([rows[i] for i in order])
    assert rows_digest(whole, order) != digest(rows)


def test_a_tokenizer_is_what_it_makes_of_text_and_not_its_last_call() -> None:
    chat, used = Chat(load_tokenizer("embedded")), Chat(load_tokenizer("embedded"))
    used.tokenizer(["a", "a b c d"], padding=True, truncation=True, max_length=2)
    assert tokenizer_digest(chat) == tokenizer_digest(used)
    used.tokenizer.split_special_tokens = True
    assert tokenizer_digest(chat) != tokenizer_digest(used)
    used.tokenizer.split_special_tokens = False
    used.tokenizer.add_tokens(["<new>"])
    assert tokenizer_digest(chat) != tokenizer_digest(used)
    assert template_digest(chat) == template_digest(used)
    used.tokenizer.chat_template += " "
    assert template_digest(chat) != template_digest(used)
