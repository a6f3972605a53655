"""The logged cases: real runs, with what the doctor must say of each (made by make_cases.py)."""

from pathlib import Path

import yaml

from paceline.doctor.finding import Finding
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.log import Log
from paceline.doctor.logs.ours import log_of_events
from paceline.doctor.logs.read import read_log
from paceline.runs.events import Event, read_events

CASES = Path(__file__).parent / "cases"
INDEX = yaml.safe_load((CASES / "index.yaml").read_text())
HEALTHY = [name for name, case in INDEX.items() if case["healthy"]]
BROKEN = [name for name, case in INDEX.items() if not case["healthy"]]


def case_events(name: str) -> list[Event]:
    """The events of a case that is a log of our own."""
    return read_events(CASES / f"{name}.jsonl")


def case_log(name: str) -> Log:
    """Our own events, or another trainer's console."""
    if (console := CASES / f"{name}.log").is_file():
        return read_log(console)[0][1]
    return log_of_events(case_events(name), INDEX[name]["batch_size"])


def case_findings(name: str) -> list[Finding]:
    """What the log rules say of a case."""
    return log_rules.findings(case_log(name))
