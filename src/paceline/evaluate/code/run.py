"""Evaluates runs on executable tasks: answers, verdicts, rates with intervals."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from paceline.config.evaluation import CodeTasks
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.answers import Prompt, answer_all
from paceline.evaluate.code.suite import TaskResult, Validation, workers
from paceline.evaluate.generate import Sampling
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.evaluate.sandbox import Sandbox
from paceline.runs.files import write_json


@dataclass(frozen=True)
class Rate:
    """A share with its 95% interval (Wilson 1927 for single answers; percentile bootstrap over tasks for pass@k)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, count: int) -> Rate:
        interval = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
        return cls(hits / count, float(interval.low), float(interval.high))


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Unbiased estimate that one of k answers passes (Chen et al. 2021, arXiv:2107.03374)."""
    return 1.0 - comb(samples - passed, k) / comb(samples, k)


def evaluate_code(
    adapter_set: AdapterSet,
    valid: Validation,
    sandbox: Sandbox,
    wanted: CodeTasks,
    folder: Path,
    progress: EvaluationProgress = NO_PROGRESS,
) -> dict[str, Any]:
    """Lets every run answer every task, runs the answers, and writes answers, verdicts (jsonl) and rates (json) into `folder`."""
    tasks, suite, samples = valid.tasks, wanted.suite, wanted.samples
    sampling = Sampling(wanted.temperature, wanted.top_p, wanted.max_new_tokens, wanted.seed)
    prompts = [Prompt(task.id, task.messages) for task in tasks]
    lines = answer_all(
        adapter_set,
        prompts,
        folder / f"{suite}-answers.jsonl",
        sampling,
        wanted.thinking,
        samples,
        progress.answers,
    )
    by_id = {task.id: task for task in tasks}

    def judge(line: dict[str, Any]) -> TaskResult:
        outcome = by_id[line["id"]].check(sandbox, line["answer"])
        progress.checked()
        return outcome

    with ThreadPoolExecutor(workers()) as pool:
        outcomes = list(pool.map(judge, lines))
    verdicts = [
        {**{key: line[key] for key in ("run", "id", "sample", "finish")}, "kind": by_id[line["id"]].kind, "compiled": o.compiled, "passed": o.passed, "output": o.output[:4000]}
        for line, o in zip(lines, outcomes, strict=True)
    ]  # fmt: skip
    (folder / f"{suite}-verdicts.jsonl").write_text(
        "".join(json.dumps(verdict, ensure_ascii=False) + "\n" for verdict in verdicts)
    )
    summary = {
        "suite": suite, "tasks": len(tasks), "left_out": valid.left_out, "samples": samples,
        "run_a_minute_a_core": valid.run_a_minute_a_core,
        "runs": {run: summarise([v for v in verdicts if v["run"] == run], samples) for run in adapter_set.adapters},
    }  # fmt: skip
    write_json(folder / f"{suite}.json", summary)
    return summary


def summarise(verdicts: list[dict[str, Any]], samples: int) -> dict[str, Any]:
    """pass@1, pass@k, the share that compiles, and pass@1 by kind of task."""
    passed = np.asarray([v["passed"] for v in verdicts])
    compiled = [bool(v["compiled"]) for v in verdicts if v["compiled"] is not None]
    by_task: dict[str, list[bool]] = {}
    kinds: dict[str, list[bool]] = {}
    for verdict in verdicts:
        by_task.setdefault(verdict["id"], []).append(verdict["passed"])
        kinds.setdefault(verdict["kind"], []).append(verdict["passed"])
    found: dict[str, Any] = {
        "pass@1": vars(Rate.of(int(passed.sum()), len(passed))), "cut": sum(v["finish"] == "length" for v in verdicts),
        "compile_rate": vars(Rate.of(sum(compiled), len(compiled))) if compiled else None,
        "kinds": {kind: vars(Rate.of(sum(hits), len(hits))) for kind, hits in sorted(kinds.items())},
    }  # fmt: skip
    if samples > 1:
        rates = np.asarray([pass_at_k(len(hits), sum(hits), samples) for hits in by_task.values()])
        low, high = _bootstrap(rates)
        found[f"pass@{samples}"] = {"value": float(rates.mean()), "low": low, "high": high}
    return found


def _bootstrap(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    interval = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(interval.low), float(interval.high)
