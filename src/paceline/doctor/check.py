"""Preflight: examines the runs of a study before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from paceline.config.study import Study
from paceline.doctor.finding import Finding, in_order
from paceline.doctor.preflight import Examiner
from paceline.doctor.preflight_rules import preflight_rules
from paceline.model.base import Base, load_base, read_config
from paceline.train.estimate import estimate_cohort
from paceline.train.prepare import Prepared, Preparer, group_by_base

Runs = Mapping[str, Prepared]


def check_study(study: Study, folder: Path, log: Callable[[str], None] = lambda line: None) -> list[Finding]:
    """What all rules find in all runs of a study, worst first; memory is estimated for runs that train together.

    Raises:
        PacelineError: what training would refuse at once.
    """
    found: list[Finding] = []
    for (name, base_format), alike in group_by_base(study.runs, lambda run: run.recipe).items():
        read_config(name)
        base_format.require()
        preparer = Preparer()
        log(f"reading and tokenizing the data of {len(alike)} runs")
        runs = {run.name: preparer.prepare(run.recipe) for run in alike}
        libraries = psutil.Process().memory_info().rss
        log(f"loading the base {name}")
        base = load_base(name, base_format=base_format)
        found += examine_cohort(base, preparer, runs, folder)
        found += _memory(base, libraries, preparer, runs, log)
    return in_order(found)


def examine_cohort(base: Base, preparer: Preparer, runs: Runs, folder: Path) -> list[Finding]:
    """What the rules find in runs that share a loaded base."""
    examiner = Examiner(base, preparer.chat(base.name), folder)
    found: list[Finding] = []
    for name, prepared in runs.items():
        found += preflight_rules.findings(examiner.examine(prepared), name)
    return in_order(found)


def _memory(
    base: Base, libraries: int, preparer: Preparer, runs: Runs, log: Callable[[str], None]
) -> list[Finding]:
    """An error where the estimate is over the device's memory; its meaning is `explained` with the rules (see `memory_too_small`)."""
    estimate = estimate_cohort(base, libraries, runs, preparer, None, log)
    if estimate.total <= estimate.available:
        return []
    parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in estimate.memory.items())
    return [
        Finding(
            "error", f"{estimate.total / 2**30:.1f} GiB needed ({parts}), the device has {estimate.available / 2**30:.1f}",
            {"needed": estimate.total, "available": estimate.available}, {"gradient_checkpointing": True, "quantize": "nf4"}, "or a smaller --token-budget",
            rule="memory-too-small", run=", ".join(runs),
        )
    ]  # fmt: skip
