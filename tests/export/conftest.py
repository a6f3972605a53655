"""The hub of the tests, and a trained study to put on it."""

from hub_fixtures import hub, paceline, quick, studied

__all__ = ["hub", "paceline", "quick", "studied"]
