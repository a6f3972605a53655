"""The device of the checks; see `emulation`."""

from collections.abc import Iterator

import pytest
from emulation import Card, emulated_cuda


@pytest.fixture
def card() -> Iterator[Card]:
    """A CUDA device that is not there."""
    with emulated_cuda() as card:
        yield card
