"""The evaluations that recipes name: checked before training, done for all finished runs of a base at once."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paceline.config.evaluation import CodeTasks, MTBench
from paceline.config.recipe import Recipe
from paceline.errors import EvaluationError, PacelineError
from paceline.evaluate.adapters import BASE, AdapterSet, load_adapters
from paceline.evaluate.code.load import load_suite
from paceline.evaluate.code.run import evaluate_code
from paceline.evaluate.code.suite import validate
from paceline.evaluate.forgetting import measure_forgetting
from paceline.evaluate.mtbench.judges import open_judge
from paceline.evaluate.mtbench.protocol import load_templates
from paceline.evaluate.mtbench.questions import load_questions
from paceline.evaluate.mtbench.run import run_mtbench
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.model.quantization import BaseFormat
from paceline.runs.directory import RunDirectory
from paceline.runs.files import read_json, write_json


def check_evaluations(recipes: Sequence[Recipe]) -> None:
    """Refuses, before anything is spent, questions that are not there and a judge that cannot be asked."""
    for wanted in {recipe.eval.mtbench for recipe in recipes} - {None}:
        assert wanted is not None
        load_questions(wanted.lang, wanted.questions)
        load_templates(wanted.judge_prompts)
        if wanted.judge != "simple" and wanted.judge_model is None:
            raise EvaluationError(f"eval.mtbench: the judge {wanted.judge!r} needs judge_model")
        if wanted.judge == "openai" and wanted.judge_url is None and not os.environ.get("OPENAI_API_KEY"):
            raise EvaluationError(
                "eval.mtbench: the judge `openai` needs a key in the environment variable OPENAI_API_KEY, or judge_url"
            )


def evaluate_study(
    directories: Sequence[RunDirectory], folder: Path, progress: EvaluationProgress = NO_PROGRESS
) -> list[tuple[str, dict[str, Any]]]:
    """Evaluates the finished runs as their recipes say, those with the same base and wishes together; what is there already is kept.

    Answers and replies are gathered in `folder` (a stopped evaluation goes on from there), and every run gets its own share of the results,
    with the base's, into its eval/.

    Returns:
        (kind, summary) of each evaluation that was done: mtbench, code, forgetting.
    """
    finished = [(d, d.recipe()) for d in directories if d.status().state == "finished"]
    groups: dict[str, list[RunDirectory]] = {}
    for directory, recipe in finished:
        wishes = recipe.eval.model_dump(mode="json", exclude={"mtbench": {"during"}})
        key = json.dumps([recipe.base, vars(BaseFormat.of(recipe)), wishes], default=str)
        groups.setdefault(key, []).append(directory)
    done = []
    for number, group in enumerate(groups.values()):
        wanted = group[0].recipe().eval
        kinds = [
            kind
            for kind, part in (
                ("mtbench", wanted.mtbench),
                ("code", wanted.code),
                ("forgetting", wanted.forgetting),
            )
            if part
        ]
        missing = [kind for kind in kinds if not all(_is_done(d, kind) for d in group)]
        if not missing:
            continue
        adapter_set = load_adapters([d.path for d in group], with_base=True)
        scratch = (group[0].eval if len(directories) == 1 else folder / "eval") / (
            f"group-{number + 1}" if len(groups) > 1 else ""
        )
        scratch.mkdir(parents=True, exist_ok=True)
        for kind in missing:
            summary = _evaluate(kind, adapter_set, wanted, group, scratch, progress)
            done += [(kind, summary)] if summary else []
    return done


def _settings(directory: RunDirectory, kind: str) -> tuple[Path, dict[str, Any]]:
    """Where the settings of an evaluation that is done stand, and those that the run's own recipe has (`during` may differ in a group)."""
    return directory.eval / f"{kind}-settings.json", getattr(directory.recipe().eval, kind).model_dump(
        mode="json"
    )


def _is_done(directory: RunDirectory, kind: str) -> bool:
    stored, wanted = _settings(directory, kind)
    return stored.is_file() and read_json(stored) == wanted


def _evaluate(
    kind: str,
    adapter_set: AdapterSet,
    wanted: Any,
    group: list[RunDirectory],
    scratch: Path,
    progress: EvaluationProgress,
) -> dict[str, Any] | None:
    summary: dict[str, Any] | None
    if kind == "mtbench":
        summary = _mtbench(adapter_set, wanted.mtbench, group, scratch, progress)
    elif kind == "code":
        summary = _code(adapter_set, wanted.code, group, scratch, progress)
    else:
        progress.log(f"measuring what was forgotten on {wanted.forgetting.source}")
        summary = measure_forgetting(
            adapter_set, wanted.forgetting, {d.name: d.eval for d in group}, progress
        )
    if summary is not None:
        for directory in group:
            write_json(*_settings(directory, kind))
    return summary


def _mtbench(
    adapter_set: AdapterSet,
    wanted: MTBench,
    group: list[RunDirectory],
    scratch: Path,
    progress: EvaluationProgress,
) -> dict[str, Any]:
    speakers = {
        name: adapter
        for name, adapter in adapter_set.adapters.items()
        if (name == BASE and "before" in wanted.when) or (name != BASE and "after" in wanted.when)
    }
    progress.log(f"MT-Bench: {', '.join(speakers)}, judge {wanted.judge}")
    judge = open_judge(wanted, adapter_set, scratch / "judge-replies")
    summary = run_mtbench(
        AdapterSet(adapter_set.base, adapter_set.chat, speakers), wanted, judge, scratch, progress
    )
    _share_out(group, scratch, "mtbench", ("mtbench-answers.jsonl", "mtbench-judgments.jsonl"), summary)
    return summary


def _code(
    adapter_set: AdapterSet,
    wanted: CodeTasks,
    group: list[RunDirectory],
    scratch: Path,
    progress: EvaluationProgress,
) -> dict[str, Any] | None:
    try:
        tasks, sandbox = load_suite(wanted)
    except PacelineError as error:
        progress.log(f"generated code is not run: {error}")
        return None
    progress.log(
        f"running the own answers of {len(tasks)} {wanted.suite} tasks, then those of {', '.join(adapter_set.adapters)}"
    )
    valid = validate(tasks, sandbox, progress.checked)
    summary = evaluate_code(adapter_set, valid, sandbox, wanted, scratch, progress)
    _share_out(
        group,
        scratch,
        wanted.suite,
        (f"{wanted.suite}-answers.jsonl", f"{wanted.suite}-verdicts.jsonl"),
        summary,
    )
    return summary


def _share_out(
    group: list[RunDirectory], scratch: Path, name: str, files: Sequence[str], summary: dict[str, Any]
) -> None:
    """Gives every run its own lines and figures, and the base's."""
    for directory in group:
        own = {BASE, directory.name}
        if directory.eval != scratch:
            for file in files:
                lines = [
                    line
                    for line in (scratch / file).read_text().splitlines()
                    if json.loads(line)["run"] in own
                ]
                (directory.eval / file).write_text("".join(f"{line}\n" for line in lines))
        write_json(
            directory.eval / f"{name}.json",
            {**summary, "runs": {run: part for run, part in summary["runs"].items() if run in own}},
        )
