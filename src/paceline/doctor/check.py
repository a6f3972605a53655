"""The check: the rules before training over the runs of a study, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from paceline.config.recipe import Recipe
from paceline.config.replicates import without_seed
from paceline.config.study import Study
from paceline.doctor.finding import Finding, in_order
from paceline.doctor.preflight import PreflightBuilder
from paceline.doctor.preflight_rules import cohort_rules, preflight_rules
from paceline.model.base import Base, load_base, read_config
from paceline.training.estimate import estimate_cohort
from paceline.training.prepare import Prepared, Preparer, group_by_base

Runs = Mapping[str, Prepared]


def check_study(study: Study, folder: Path, log: Callable[[str], None] = lambda line: None) -> list[Finding]:
    """What the rules find in all runs of a study and in the memory that each cohort needs, worst first.

    Args:
        folder: where the run directories will be.
        log: takes a line about what is about to happen.

    Raises:
        PacelineError: what training would refuse at once.
    """
    findings: list[Finding] = []
    for (name, base_format), cohort in group_by_base(study.runs, lambda run: run.recipe).items():
        read_config(name)
        base_format.require()
        preparer = Preparer()
        log(f"reading and tokenizing the data of {len(cohort)} run{'s' * (len(cohort) > 1)}")
        runs = {run.name: preparer.prepare(run.recipe) for run in cohort}
        libraries = psutil.Process().memory_info().rss
        log(f"loading the base {name}")
        base = load_base(name, base_format=base_format)
        findings += check_cohort(base, preparer, runs, folder)
        estimate = estimate_cohort(base, libraries, runs, preparer, None, log)
        recipes = dict.fromkeys(run.recipe_name for run in cohort)
        findings += cohort_rules.findings(estimate, ", ".join(recipes))
    return in_order(findings)


def check_cohort(base: Base, preparer: Preparer, runs: Runs, folder: Path) -> list[Finding]:
    """What the rules find in runs that share a loaded base, worst first; of replicates, in the first one."""
    builder = PreflightBuilder(base, preparer, folder)
    findings: list[Finding] = []
    seen: list[Recipe] = []
    for name, prepared in runs.items():
        alike = without_seed(prepared.recipe)
        # a replicate has nothing of its own to find, unless other rows train it
        if alike in seen and prepared.recipe.data.resample is None:
            continue
        seen.append(alike)
        findings += preflight_rules.findings(builder.build(prepared), name)
    return in_order(findings)
