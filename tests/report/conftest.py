"""A small study with everything in it that a report shows, some of it hostile; and a browser that has no network."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from helpers import MakeBase
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.evaluate.study import evaluate_study
from paceline.report.collect import collect_study
from paceline.report.export import write_report
from paceline.runs.seals import seal
from paceline.training.study import train_study

EVIL = (
    "<script>window.evil = 1</script><img src=x onerror='window.evil = 2'> [x](javascript:evil) | `a` </pre>"
)


@pytest.fixture(scope="session")
def studied(tiny_base: MakeBase, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three runs on rows of several tasks, evaluated; objective, hypothesis, questions and answers hold markup."""
    folder = tmp_path_factory.mktemp("report") / "study"
    evaluations = {
        "mtbench": {"lang": "embedded:en", "questions": 4, "max_new_tokens": 4},
        "code": {"suite": "problems", "n": 3, "max_new_tokens": 4},
        "forgetting": {"source": "embedded:twix", "n": 6},
    }
    common = {
        "base": tiny_base("qwen3"), "data": {"source": "embedded:rust", "n": 120, "eval_ratio": 0.3}, "max_length": 256, "lr": 3e-3,
        "batch_size": 4, "grad_accum": 1, "max_steps": 12, "logging_steps": 1, "eval_steps": 4, "eval": evaluations,
    }  # fmt: skip
    fields = {"plain": {}, "faster": {"lr": 1e-2}, "twin": {"seed": 43}}
    runs = [
        Run(name=name, hypothesis=EVIL, recipe=make_recipe({**common, **own}, name))
        for name, own in fields.items()
    ]
    published = {"hardware": EVIL, "plain": {"eval_loss": 1.25, "mtbench": 4.5}, "gone": {"minutes": 12}}
    outcome = train_study(Study(name="study", objective=EVIL, runs=runs, published=published), folder)
    evaluate_study(outcome.directories, folder)
    for run in runs:
        file = folder / run.name / "eval" / "mtbench-answers.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text(
            "".join(
                json.dumps({**line, "answer": EVIL + line["answer"], "question": EVIL}) + "\n"
                for line in lines
            )
        )
        seal(file)
    return folder


@pytest.fixture(scope="session")
def facts(studied: Any) -> Any:
    return collect_study(studied)


@pytest.fixture(scope="session")
def written(facts: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The facts, report.md and report.html."""
    return facts, *write_report(facts, tmp_path_factory.mktemp("out"), price=2.0)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    flags = (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
    )
    for flag in (*flags, f"user-data-dir={tmp_path_factory.mktemp('chromium')}", "window-size=1200,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()
