"""What was trained, folded: data, recipes as one table of what differs, published figures, findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from paceline.doctor.finding import Finding
from paceline.report.by_recipe import RecipeRow, RecipeRuns, having, of_recipes
from paceline.report.collect import RunFacts, StudyFacts
from paceline.report.format import number
from paceline.report.published import Figure
from paceline.runs.evaluation_status import EvaluationStatus

# What several fields make together, shown as a column of its own where it differs.
_DERIVED = ("effective batch", "steps")
# Which replicate is no field of the recipe, and each table names the run's seeds by itself.
_NOT_SHOWN = ("seed",)


@dataclass(frozen=True, kw_only=True)
class DataRow(RecipeRow):
    """The data of recipes that have the same: examples, lengths in tokens, and shares that were lost."""

    train: str
    held_out: str
    lengths: str
    max_length: str
    cut: str
    lost: str

    @property
    def figures(self) -> tuple[str, ...]:
        """All but whose they are."""
        return self.train, self.held_out, self.lengths, self.max_length, self.cut, self.lost


@dataclass(frozen=True, kw_only=True)
class RecipeLine(RecipeRow):
    """A recipe in the table of differences: what it is to show, its seeds, and {column: (value, is new)}."""

    hypothesis: str
    seeds: str
    values: dict[str, tuple[str, bool]]


@dataclass(frozen=True, kw_only=True)
class RecipeTable:
    """What all recipes share of the usual parameters, and the columns in which they differ."""

    shared: dict[str, str]
    columns: list[str]
    lines: list[RecipeLine]


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """Published figures beside those measured here: {figure: its unit}, and {run: {figure: both}}.

    `notes` are what was published of no run.
    """

    units: dict[str, str]
    runs: dict[str, dict[str, Figure]]
    notes: list[Figure]


def data_rows(study: StudyFacts) -> list[DataRow]:
    """A row for all recipes that have the same data."""
    rows: dict[tuple[str, ...], list[DataRow]] = {}
    for recipe in having(study, lambda run: run.start):
        row = _data_row(recipe)
        rows.setdefault((*row.figures, *row.by_seed), []).append(row)
    return [
        replace(same[0], recipe=", ".join(row.recipe + row.seeds_shown for row in same), seeds_shown="")
        for same in rows.values()
    ]


def _data_row(recipe: RecipeRuns) -> DataRow:
    starts = [run.start for run in recipe.runs if run.start]
    own = [f"{start.train:,} for training, {start.eval:,} held out" for start in starts]
    return DataRow(
        recipe=recipe.name,
        seeds_shown=recipe.seeds_shown,
        by_seed=recipe.by_seed(own) if len(set(own)) > 1 else (),
        train=_span(f"{start.train:,}" for start in starts),
        held_out=_span(f"{start.eval:,}" for start in starts),
        lengths=_span(f"{s.length.p50} / {s.length.p95} / {s.length.max}" for s in starts if s.length),
        max_length=_span(f"{run.recipe.max_length}" for run in recipe.runs),
        cut=_span(f"{s.truncated / s.examples:.1%}" for s in starts),
        lost=_span(f"{s.answers_lost / s.examples:.1%}" for s in starts),
    )


def _span(values: Iterable[str]) -> str:
    """What all replicates have, or each one's where they differ."""
    return ", ".join(dict.fromkeys(values))


def recipe_table(study: StudyFacts) -> RecipeTable:
    """Every recipe in one line, with only those fields in columns that differ between recipes."""
    recipes = [recipe for recipe in of_recipes(study) if recipe.runs]
    first = {recipe.name: recipe.runs[0] for recipe in recipes}
    usual = {name: _usual(run) for name, run in first.items()}
    fields = {
        field: number(values[0])
        for run in first.values()
        for field, values in run.differences.items()
        if field not in _NOT_SHOWN
    }
    baseline = usual[recipes[0].name]
    differing = [name for name in baseline if any(own[name] != baseline[name] for own in usual.values())]
    derived = [
        name for name in differing if name in _DERIVED and (name != "steps" or "max_steps" not in fields)
    ]
    columns = [*fields, *derived]
    lines = []
    for recipe in recipes:
        run = first[recipe.name]
        values = {
            field: (number(run.differences[field][1]), True)
            if field in run.differences
            else (fields[field], False)
            for field in fields
        }
        for name in derived:
            values[name] = usual[recipe.name][name], usual[recipe.name][name] != baseline[name]
        lines.append(
            RecipeLine(
                recipe=recipe.name,
                seeds_shown=recipe.seeds_shown,
                hypothesis=run.hypothesis,
                seeds=", ".join(map(str, recipe.seeds)),
                values=values,
            )
        )
    shared = {name: value for name, value in baseline.items() if name not in differing}
    return RecipeTable(shared=shared, columns=columns, lines=lines)


def _usual(run: RunFacts) -> dict[str, str]:
    """The parameters that every reader asks for."""
    recipe = run.recipe
    return {
        "learning rate": number(recipe.lr),
        "schedule": recipe.lr_scheduler,
        "effective batch": f"{recipe.effective_batch} ({recipe.batch_size} × {recipe.grad_accum})",
        "LoRA rank": number(recipe.lora_r),
        "LoRA alpha": number(recipe.lora_alpha),
        "LoRA dropout": number(recipe.lora_dropout),
        "steps": number(run.start.total_steps) if run.start else "",
    }


def evaluation_lines(study: StudyFacts) -> list[tuple[str, str, str]]:
    """(recipes with their count of seeds, evaluation, state) of all that was asked for."""
    by_run: dict[tuple[str, str], EvaluationStatus] = {
        (status.run, status.evaluation): status for status in study.evaluations
    }
    kinds = dict.fromkeys(status.evaluation for status in study.evaluations)
    lines: dict[tuple[str, str], list[str]] = {}
    for kind in kinds:
        for recipe in of_recipes(study):
            asked = [by_run[run.name, kind] for run in recipe.runs if (run.name, kind) in by_run]
            if asked:
                lines.setdefault((kind, _state(asked)), []).append(recipe.name + recipe.seeds_shown)
    return [(", ".join(recipes), kind, state) for (kind, state), recipes in lines.items()]


def _state(asked: Sequence[EvaluationStatus]) -> str:
    """Whether an evaluation of a recipe's runs was done, or of which not and why."""
    missing = [status for status in asked if not status.done]
    if not missing:
        return "done"
    if len(missing) == len(asked) and len({status.reason for status in missing}) == 1:
        return f"not done: {missing[0].reason}"
    return "; ".join(f"not done for {status.run}: {status.reason}" for status in missing)


def folded_findings(findings: Sequence[Finding]) -> list[tuple[Finding, list[Finding]]]:
    """Every rule's first finding with all of its findings, worst first as they come."""
    rules: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        rules.setdefault((finding.severity, finding.rule), []).append(finding)
    return [(same[0], same) for same in rules.values()]


def published_table(figures: Sequence[Figure]) -> PublishedTable:
    """The figures side by side."""
    runs: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        if figure.run:
            runs.setdefault(figure.run, {})[figure.name] = figure
    units = {name: figure.unit for own in runs.values() for name, figure in own.items()}
    return PublishedTable(units=units, runs=runs, notes=[figure for figure in figures if not figure.run])
