"""The report's tables as rows of figures, for LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from paceline.comparison.table import Comparison
from paceline.report.collect import StudyFacts
from paceline.report.evaluated import Change, code_rows, forgetting_rows, mtbench_rows, pair_rows
from paceline.report.format import number
from paceline.report.plots import Heat, heats
from paceline.report.recipes import recipe_table
from paceline.runs.files import write_whole

Value = str | int | float | None
# Of a loss, a score and a share, as LaTeX shows them; a CSV has every digit.
_LOSS, _SCORE, _SHARE, _AS_IS = ".4f", ".2f", ".3f", ""
# Characters that mean something to LaTeX, and those that its classic engines do not know.
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "→": r"$\to$",
    "Δ": r"$\Delta$", "±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for a paper: its file's name, {column: how LaTeX formats it}, and rows of as many values."""

    name: str
    columns: dict[str, str]
    rows: list[list[Value]]

    def csv(self) -> str:
        """Comma-separated, with every digit; a cell that a spreadsheet would compute is quoted as text."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([[_harmless(value) for value in row] for row in self.rows])
        return text.getvalue()

    def latex(self) -> str:
        """A tabular for the package booktabs."""
        texts = [all(isinstance(row[place], str) for row in self.rows) for place in range(len(self.columns))]
        begin = r"\begin{tabular}{" + "".join("l" if is_text else "r" for is_text in texts) + "}"
        head = " & ".join(map(_escaped, self.columns)) + r" \\"
        forms = list(self.columns.values())
        lines = [" & ".join(map(_shown, row, forms)) + r" \\" for row in self.rows]
        body = [r"\toprule", head, r"\midrule", *lines, r"\bottomrule"]
        return "\n".join([begin, *body, r"\end{tabular}", ""])


def write_tables(study: StudyFacts, folder: Path) -> list[Path]:
    """Writes every table that has rows, as NAME.csv and NAME.tex, and returns their paths."""
    written = []
    for table in tables(study):
        for ending, text in ((".csv", table.csv()), (".tex", table.latex())):
            written.append(folder / f"{table.name}{ending}")
            write_whole(written[-1], text)
    return written


def tables(study: StudyFacts) -> list[Table]:
    """All tables of a study that have rows."""
    found = [_recipes(study), *_evaluated(study)]
    if study.comparison:
        found.insert(0, _results(study.comparison))
    found += [_of_heat(name, heat) for name, heat in heats(study).items()]
    return [table for table in found if table.rows]


def _results(comparison: Comparison) -> Table:
    columns = {
        "recipe": _AS_IS, "seeds": _AS_IS, "eval loss": _LOSS, "SD over seeds": _LOSS, "perplexity": _SHARE,
        "token accuracy": _SHARE, "steps": _AS_IS, "tokens": _AS_IS, "seconds": ".0f", **_CHANGE,
    }  # fmt: skip
    figures = [comparison.base_loss, None, comparison.base_perplexity, comparison.base_token_accuracy]
    base: list[Value] = ["(base)", "", *figures, *[None] * 3, *_change(None)]
    return Table(
        name="results",
        columns=columns,
        rows=[
            base,
            *(
                [
                    row.name,
                    len(row.replicates),
                    row.eval_loss,
                    row.spread,
                    row.perplexity,
                    row.token_accuracy,
                    row.steps,
                    row.tokens,
                    row.seconds,
                    *_change(row.difference),
                ]
                for row in comparison.rows
            ),
        ],
    )


def _recipes(study: StudyFacts) -> Table:
    table = recipe_table(study)
    return Table(
        name="recipes",
        columns=dict.fromkeys(["recipe", *table.columns, "seeds", "hypothesis"], _AS_IS),
        rows=[
            [line.recipe, *(line.values[name][0] for name in table.columns), line.seeds, line.hypothesis]
            for line in table.lines
        ],
    )


def _evaluated(study: StudyFacts) -> list[Table]:
    scores: list[list[Value]] = [
        [
            row.recipe,
            row.average.value,
            row.turns.get("1"),
            row.turns.get("2"),
            row.raw,
            *_change(row.change),
            row.failed,
            row.cut,
        ]
        for row in mtbench_rows(study)
    ]
    pairs: list[list[Value]] = [
        [row.recipe, row.win_rate.value, row.wins, row.ties, row.losses, row.withheld or row.verdict]
        for row in pair_rows(study)
    ]
    code: list[list[Value]] = [
        [row.recipe, row.suite, row.tasks, row.pass_at_1.value, row.compile_rate, *_change(row.change)]
        for row in code_rows(study)
    ]
    forgotten: list[list[Value]] = [
        [row.recipe, row.base, row.loss.value, row.kl, *_change(row.change)] for row in forgetting_rows(study)
    ]
    turns = {"average": _SCORE, "turn 1": _SCORE, "turn 2": _SCORE, "raw reward": _SHARE}
    return [
        Table(
            name="mtbench",
            columns={"recipe": _AS_IS, **turns, **_CHANGE, "failed": _AS_IS, "cut": _AS_IS},
            rows=scores,
        ),
        Table(
            name="mtbench-pairs",
            columns={
                "recipe": _AS_IS,
                "win rate": _SHARE,
                **dict.fromkeys(("wins", "ties", "losses", "verdict"), _AS_IS),
            },
            rows=pairs,
        ),
        Table(
            name="code",
            columns={
                "recipe": _AS_IS,
                "suite": _AS_IS,
                "tasks": _AS_IS,
                "pass@1": _SHARE,
                "compiles": _SHARE,
                **_CHANGE,
            },
            rows=code,
        ),
        Table(
            name="forgetting",
            columns={"recipe": _AS_IS, "loss of base": _LOSS, "loss": _LOSS, "KL": ".5f", **_CHANGE},
            rows=forgotten,
        ),
    ]


def _of_heat(name: str, heat: Heat) -> Table:
    form = {"tasks": _LOSS, "adapter-updates": ".4g"}.get(name, _SCORE)
    return Table(
        name=name,
        columns={heat.named: _AS_IS, **dict.fromkeys(heat.columns, form)},
        rows=[
            [row, *(heat.cells[row, c].value if (row, c) in heat.cells else None for c in heat.columns)]
            for row in heat.rows
        ],
    )


_CHANGE = {"change": "+.4f", "low": "+.4f", "high": "+.4f", "verdict": _AS_IS}


def _change(d: Change | None) -> list[Value]:
    return [d.delta, d.low, d.high, d.verdict] if d else [None, None, None, ""]


def _harmless(value: Value) -> Value:
    """A text that does not begin like a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _shown(value: Value, form: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _escaped(value)
    return format(value, form) if form else number(value)


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in " ".join(text.split()))
