"""A study that has trained."""

from typing import Any

import pytest
from tiny_studies import tiny_study

import paceline


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(the tiny study, what came of it)."""
    study = tiny_study()
    return study, paceline.run_study(study, tmp_path_factory.mktemp("runs") / "rates")
