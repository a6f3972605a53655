"""The counter-based generator against the published answers of its authors' own (Random123's kat_vectors)."""

import pytest
import torch

from paceline.kernels.philox import _philox, keep_rows

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    words = _philox([torch.tensor([word]) for word in counter], key[0] | key[1] << 32)
    assert tuple(int(word) for word in words) == answer


def test_elements_are_halves_of_the_words_in_order() -> None:
    words = _philox([torch.tensor([word]) for word in (0, 7, 3, 0)], 11)
    halves = [half for word in words for half in (int(word) & 0xFFFF, int(word) >> 16)]
    for p in (0.2, 0.5, 0.9):
        kept = keep_rows(torch.tensor([7]), 8, 11, 3, p)[0]
        assert kept.tolist() == [half >= round(p * 2**16) for half in halves]
