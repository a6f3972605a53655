"""What `import paceline` offers: every name is there, documented, and costs nothing before it is used."""

import ast
import inspect
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import paceline

HEAVY = {"torch", "transformers", "datasets", "peft", "pandas", "numpy", "scipy", "pydantic"}
FUNCTIONS = [
    "check",
    "compare",
    "diagnose",
    "generate",
    "load_adapter",
    "load_recipe",
    "load_study",
    "open_study",
    "plan",
    "rehearse",
    "run_study",
    "train",
    "write_report",
]
TYPES = [
    "AdapterSet",
    "Answer",
    "Callback",
    "CheckFailed",
    "CohortEstimate",
    "CohortView",
    "Comparison",
    "ConfigError",
    "Curves",
    "DataError",
    "EvalEvent",
    "EvaluationError",
    "ExampleLosses",
    "FailedEvent",
    "Finding",
    "FindingEvent",
    "Findings",
    "MissingExtra",
    "ModelError",
    "PacelineError",
    "ProgressBar",
    "Recipe",
    "Report",
    "Run",
    "RunError",
    "RunEstimate",
    "RunResult",
    "RunStatus",
    "RunView",
    "ScoreEvent",
    "ServiceError",
    "StartEvent",
    "StepStats",
    "Study",
    "StudyResult",
    "TrainEvent",
    "TrainingError",
]


def in_a_new_process(code: Any) -> Any:
    """What a program prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_names_are_these() -> None:
    assert paceline.__all__ == sorted([*FUNCTIONS, *TYPES, "__version__"])
    assert dir(paceline) == paceline.__all__


@pytest.mark.parametrize("name", [*FUNCTIONS, *TYPES])
def test_a_name_is_there_and_documented(name: str) -> None:
    offered = getattr(paceline, name)
    assert offered.__name__ == name
    assert inspect.getdoc(offered)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_and_what_goes_wrong(name: str) -> None:
    function = getattr(paceline, name)
    text = inspect.getdoc(function)
    assert "Raises:" in text
    taken = text[text.index("Args:") :]
    assert all(parameter in taken for parameter in inspect.signature(function).parameters)


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'run_studdy'"):
        paceline.run_studdy  # noqa: B018


def test_no_name_is_hidden_by_a_package_of_the_same_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(paceline.__path__)}
    assert not modules & set(paceline.__all__)


def test_type_checkers_are_told_the_same_modules() -> None:
    tree = ast.parse(Path(paceline.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: node.module for node in block.body for alias in node.names}
    assert told == paceline._MODULE_OF
    assert Path(paceline.__file__).with_name("py.typed").is_file()


def test_importing_and_listing_load_nothing_heavy_in_no_time() -> None:
    code = """
import sys, time
began = time.process_time()
import paceline
dir(paceline)
print(time.process_time() - began)
print(set(sys.modules))
"""
    seconds, loaded = in_a_new_process(code).splitlines()
    assert float(seconds) < 0.2
    assert not HEAVY & ast.literal_eval(loaded)


def test_what_reads_finished_runs_needs_no_torch() -> None:
    names = [
        "Callback",
        "CheckFailed",
        "Comparison",
        "Finding",
        "ProgressBar",
        "Recipe",
        "StudyResult",
        "TrainEvent",
    ]
    functions = ["compare", "diagnose", "load_study", "open_study", "rehearse", "write_report"]
    lines = "".join(f"paceline.{name}; " for name in [*names, *functions])
    code = f"import sys, paceline; {lines} print({{'torch', 'transformers', 'pandas'}} & set(sys.modules))"
    assert in_a_new_process(code) == "set()\n"


def test_a_failed_check_can_be_sent_to_another_process() -> None:
    findings = paceline.Findings(
        [paceline.Finding(severity="error", message="too high", rule="rate", run="a")]
    )
    sent = pickle.loads(pickle.dumps(paceline.CheckFailed(findings)))
    assert sent.findings == findings
    assert str(sent) == "the check before training found what will go wrong: too high (rate, a)"
    assert isinstance(sent, paceline.ConfigError)
