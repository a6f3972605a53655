"""Texts joined and cut into examples of one length, and held-out ones in windows."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from trl import pack_dataset

from paceline.config.data import Data
from paceline.config.load import make_recipe
from paceline.data.chat import Chat, load_tokenizer
from paceline.data.packing import Tokens, cut_windows, pack, wrapped
from paceline.data.split import split
from paceline.data.tokens import TokenDataset, load_tokens
from paceline.errors import ConfigError, DataError
from paceline.training.micro_batches import make_micro_batches, make_sequences

LENGTH = 64
Texts = list[Tokens]


def made(lengths: list[int]) -> Texts:
    """Texts of some lengths in which no token comes twice; the first of each is not supervised."""
    ends = np.cumsum(lengths)
    ids = [np.arange(end - length, end, dtype=np.int32) for end, length in zip(ends, lengths, strict=True)]
    return [(one, (np.arange(len(one)) > 0).astype(np.uint8)) for one in ids]


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_the_packed_examples_laid_end_to_end_are_the_texts(lengths: list[int], max_length: int) -> None:
    texts = made(lengths)
    packed = list(wrapped(texts, max_length))
    for half in (0, 1):
        whole = [text[half] for text in texts] or [np.empty(0)]
        cut = [example[half] for example in packed] or [np.empty(0)]
        assert np.concatenate(cut).tolist() == np.concatenate(whole).tolist()
    assert all(len(ids) == max_length for ids, _ in packed[:-1])


@given(st.integers(1, 200), st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_the_windows_of_a_text_predict_each_of_its_tokens_once(length: int, max_length: int) -> None:
    ids, mask = made([length])[0]
    windows = list(cut_windows((ids, mask), max_length))
    predicted = [window[1:] for window, _ in windows]
    assert np.concatenate(predicted).tolist() == ids[1:].tolist()
    assert sum(int(on.sum()) for _, on in windows) == mask.sum()
    assert all(2 <= len(window) <= max_length for window, _ in windows) or length == 1


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("embedded"))


@pytest.fixture(scope="module")
def plain(texts: str, chat: Chat) -> TokenDataset:
    return load_tokens(Data(source=texts), chat)


def test_training_texts_are_packed_as_trl_wraps_them(plain: TokenDataset) -> None:
    parts = split(plain, 0.2, LENGTH)
    dataset, packed = pack(plain, parts, LENGTH)
    examples = {"input_ids": [plain.example(i)[0].tolist() for i in parts.train]}
    expected = pack_dataset(Dataset.from_dict(examples), LENGTH, "wrapped")["input_ids"]
    assert [dataset.example(i)[0].tolist() for i in packed.train] == list(expected)
    ends = np.cumsum([len(ids) for ids in examples["input_ids"]])
    begins_in = [int((ends <= LENGTH * number).sum()) for number in range(len(expected))]
    for name in ("row", "task", "group"):
        assert dataset.column(name)[packed.train].tolist() == [
            plain.column(name)[parts.train[text]] for text in begins_in
        ]


def test_held_out_texts_stay_apart_and_lose_nothing(plain: TokenDataset) -> None:
    parts = split(plain, 0.2, LENGTH)
    dataset, packed = pack(plain, parts, LENGTH)
    rows = dataset.column("row")
    for text in parts.eval:
        windows = [i for i in packed.eval if rows[i] == plain.column("row")[text]]
        labels = np.concatenate([own.labels for own in make_sequences(dataset, windows, LENGTH)])
        assert labels.tolist() == plain.example(text)[0][1:].tolist()
    assert set(rows[packed.eval]) == set(plain.column("row")[parts.eval])
    assert not set(rows[packed.train]) & set(rows[packed.eval])
    assert len(packed.train) + len(packed.eval) == len(dataset)


def test_a_last_example_of_one_token_is_left_out(tmp_path: Path, chat: Chat) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"{word} and so on"}) + "\n" for word in "abcdefgh"))
    plain = load_tokens(Data(source=str(path)), chat)
    parts = split(plain, 0.25, 1024)
    total = int(plain.lengths[parts.train].sum())
    dataset, packed = pack(plain, parts, total - 1)
    assert dataset.lengths[packed.train].tolist() == [total - 1]
    dataset, packed = pack(plain, parts, total - 2)
    assert dataset.lengths[packed.train].tolist() == [total - 2, 2]
    assert sum(b.supervised for b in make_micro_batches(dataset, packed.train, total)) == total - 2


def test_conversations_are_not_packed(sums: str, chat: Chat) -> None:
    plain = load_tokens(Data(source=sums), chat)
    with pytest.raises(
        DataError, match="these rows are prompt-completion: conversations are computed"
    ) as one:
        pack(plain, split(plain, 0.1, LENGTH), LENGTH)
    assert "\n" not in str(one.value)


@pytest.mark.parametrize("order", ["length", "base-loss", "phases"])
def test_packed_examples_have_no_order_of_their_own(order: str) -> None:
    fields = {"base": "b", "data": {"source": "d", "packing": True}, "phases": {"a": ["b"]}, "order": order}
    with pytest.raises(ConfigError, match=f"data.packing goes with order: random only, not {order}"):
        make_recipe(fields, "r.yaml")
