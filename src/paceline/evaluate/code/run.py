"""Evaluates runs on executable tasks: answers, verdicts, rates with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from paceline.evaluate.adapters import Cast
from paceline.evaluate.answers import Prompt, answer_all
from paceline.evaluate.code.suite import Outcome, Task, workers
from paceline.evaluate.generate import Sampling
from paceline.evaluate.sandbox import Sandbox
from paceline.train.files import write_json


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
    cast: Cast, tasks: list[Task], sandbox: Sandbox, folder: Path, suite: str, sampling: Sampling, samples: int, thinking: bool,
    observe: Callable[[int, int, int], None], judged: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Lets every run answer every task, runs the answers, and writes answers, verdicts (jsonl) and rates (json) into `folder`.

    `judged` is called after every answer that was run.
    """
    prompts = [Prompt(task.id, task.messages) for task in tasks]
    lines = answer_all(cast, prompts, folder / f"{suite}-answers.jsonl", sampling, thinking, samples, observe)
    by_id = {task.id: task for task in tasks}

    def judge(line: dict[str, Any]) -> Outcome:
        outcome = by_id[line["id"]].check(sandbox, line["answer"])
        judged()
        return outcome

    with ThreadPoolExecutor(workers()) as pool:
        outcomes = list(pool.map(judge, lines))
    verdicts = [
        {**{key: line[key] for key in ("run", "id", "sample", "finish")}, "kind": by_id[line["id"]].kind, "compiled": o.compiled, "passed": o.passed, "output": o.output[:4000]}
        for line, o in zip(lines, outcomes, strict=True)
    ]  # fmt: skip
    (folder / f"{suite}-verdicts.jsonl").write_text("".join(json.dumps(verdict, ensure_ascii=False) + "\n" for verdict in verdicts))
    summary = {run: summarise([v for v in verdicts if v["run"] == run], samples) for run in cast.adapters}
    write_json(folder / f"{suite}.json", {"suite": suite, "tasks": len(tasks), "samples": samples, "runs": summary})
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
    interval = stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return float(interval.low), float(interval.high)
