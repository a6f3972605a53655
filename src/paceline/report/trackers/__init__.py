"""Curves of runs in other tools, as `track` in a recipe names them."""

from paceline.report.trackers.callback import Trackers as Trackers
from paceline.report.trackers.registry import check_trackers as check_trackers
