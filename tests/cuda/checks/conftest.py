"""The device of the checks; see `emulation`."""

from collections.abc import Iterator

import pytest
from emulation import Card, emulated_cuda

from paceline.model.base import Base


@pytest.fixture
def card(loaded_base: Base) -> Iterator[Card]:
    """A CUDA device that is not there; a base is written and loaded before it is.

    Where transformers' first model was made beside the emulation, later ones are loaded without the
    frequencies of their rotary embeddings, which are then whatever the memory held.
    """
    with emulated_cuda() as card:
        yield card
