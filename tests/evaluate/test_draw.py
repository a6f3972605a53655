"""Draws: transformers' own kept set and probabilities, the same token whatever rows stand beside."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from paceline.evaluate import draw
from paceline.evaluate.draw import Draw, choose_tokens


def random_logits(rows: int, vocabulary: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * spread


def drawn(logits: Tensor, temperature: float, top_p: float, times: int) -> Tensor:
    """Tokens of one row at evenly spaced uniforms: each as often as it is probable, to one in `times`."""
    draws = [Draw(temperature, top_p, (place + 0.5) / times) for place in range(times)]
    return choose_tokens(logits.expand(times, -1), draws)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999, 1.0])
def test_tokens_come_as_often_as_transformers_has_them(temperature: float, top_p: float) -> None:
    logits, times = random_logits(1, 300, seed=int(100 * top_p)), 2_000
    warped = TemperatureLogitsWarper(temperature)(None, logits.double())
    if top_p < 1:
        warped = TopPLogitsWarper(top_p)(None, warped)
    wanted = warped.softmax(1)[0].numpy()
    shares = np.bincount(drawn(logits, temperature, top_p, times).numpy(), minlength=300) / times
    assert np.abs(shares - wanted).max() <= 1.5 / times
    assert not shares[wanted == 0].any()


@pytest.mark.parametrize("top_p", [0.0, 0.2, 0.7, 0.95])
@pytest.mark.parametrize("vocabulary", [50, 5000])
def test_the_kept_set_is_the_smallest_with_the_probability(
    top_p: float, vocabulary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is beyond the tokens that are looked at first, and where probabilities tie."""
    for seed, spread in enumerate((0.1, 1.0, 6.0)):
        logits = random_logits(1, vocabulary, seed, spread)
        if seed == 1:
            logits = logits.round()
        likely, wanted = draw._relative(logits, torch.ones(1, 1)), torch.tensor([[top_p]]).double()
        kept = draw._nucleus(likely, wanted)
        with monkeypatch.context() as patch:  # as a GPU finds it
            patch.setattr(draw, "_near_border", lambda *_: None)
            assert torch.equal(draw._nucleus(likely, wanted), kept)
        probabilities = logits[0].double().softmax(0).numpy()
        order = np.argsort(-probabilities, kind="stable")
        before = np.cumsum(probabilities[order]) - probabilities[order]
        expected = sorted(order[: max(1, int((before < top_p).sum()))])
        assert kept[0].nonzero()[:, 0].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(0, 999), st.sampled_from([torch.inf, -torch.inf, torch.nan, 2.0]))
def test_greedy_takes_the_first_of_the_largest(vocabulary: int, seed: int, odd: float) -> None:
    """Over the borders of blocks, with ties, and where logits are no numbers or none is left."""
    logits = random_logits(4, vocabulary, seed, 1.0).round()
    logits[1, torch.randperm(vocabulary, generator=torch.Generator().manual_seed(seed))[:3]] = odd
    logits[2] = odd
    assert torch.equal(choose_tokens(logits, [None] * 4), logits.argmax(1))


ASKED = st.one_of(
    st.none(),
    st.builds(
        Draw,
        temperature=st.floats(0.01, 3.0),
        top_p=st.sampled_from([0.1, 0.8, 0.99, 1.0]),
        uniform=st.floats(0, 1, exclude_max=True),
    ),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(ASKED, min_size=1, max_size=9), st.sampled_from([17, 1025, 3000]), st.integers(0, 99))
def test_a_token_does_not_depend_on_the_rows_beside_it(
    asked: list[Draw | None], vocabulary: int, seed: int
) -> None:
    logits = random_logits(len(asked), vocabulary, seed)
    together = choose_tokens(logits, asked)
    for row, one in enumerate(asked):
        assert int(choose_tokens(logits[row : row + 1], [one])) == int(together[row])


def test_rows_beyond_one_part_are_drawn_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, draws = random_logits(20, 64), [Draw(1.0, p, 0.3) for p in [0.9, 1.0] * 10]
    whole = choose_tokens(logits, draws)
    monkeypatch.setitem(draw._ELEMENTS, "cpu", 64 * 3)
    assert torch.equal(choose_tokens(logits, draws), whole)


@pytest.mark.parametrize("temperature", [1e-60, 1e-6])
def test_next_to_no_temperature_is_greedy(temperature: float) -> None:
    logits = random_logits(1, 100)
    assert set(drawn(logits, temperature, 0.9, 50).tolist()) == {int(logits.argmax())}
