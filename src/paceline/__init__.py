"""Paceline trains a study of LoRA fine-tuning runs at once over one frozen base and compares them honestly.

    import paceline

    study = paceline.load_study("studies/rates.yaml")
    result = paceline.run_study(study, "runs/rates", callbacks=[paceline.ProgressBar()])
    result.comparison

Every name is loaded when it is first used: importing the package costs nothing, and a finished study is
read without torch. docs/python.md is the guide.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from paceline.version import __version__ as __version__

if TYPE_CHECKING:
    from paceline.api.callbacks import Callback as Callback
    from paceline.api.comparison import Comparison as Comparison
    from paceline.api.comparison import compare as compare
    from paceline.api.curves import Curves as Curves
    from paceline.api.findings import CheckFailed as CheckFailed
    from paceline.api.findings import Findings as Findings
    from paceline.api.generation import Answer as Answer
    from paceline.api.generation import generate as generate
    from paceline.api.generation import load_adapter as load_adapter
    from paceline.api.inspection import Report as Report
    from paceline.api.inspection import diagnose as diagnose
    from paceline.api.inspection import write_report as write_report
    from paceline.api.loading import load_recipe as load_recipe
    from paceline.api.loading import load_study as load_study
    from paceline.api.loading import rehearse as rehearse
    from paceline.api.planning import check as check
    from paceline.api.planning import plan as plan
    from paceline.api.progress import ProgressBar as ProgressBar
    from paceline.api.results import RunResult as RunResult
    from paceline.api.results import StudyResult as StudyResult
    from paceline.api.results import open_study as open_study
    from paceline.api.study import run_study as run_study
    from paceline.api.study import train as train
    from paceline.config.recipe import Recipe as Recipe
    from paceline.config.study import Run as Run
    from paceline.config.study import Study as Study
    from paceline.doctor.finding import Finding as Finding
    from paceline.errors import ConfigError as ConfigError
    from paceline.errors import DataError as DataError
    from paceline.errors import EvaluationError as EvaluationError
    from paceline.errors import MissingExtra as MissingExtra
    from paceline.errors import ModelError as ModelError
    from paceline.errors import PacelineError as PacelineError
    from paceline.errors import RunError as RunError
    from paceline.errors import ServiceError as ServiceError
    from paceline.errors import TrainingError as TrainingError
    from paceline.evaluate.adapters import AdapterSet as AdapterSet
    from paceline.runs.directory import RunStatus as RunStatus
    from paceline.runs.events import EvalEvent as EvalEvent
    from paceline.runs.events import FailedEvent as FailedEvent
    from paceline.runs.events import FindingEvent as FindingEvent
    from paceline.runs.events import ScoreEvent as ScoreEvent
    from paceline.runs.events import StartEvent as StartEvent
    from paceline.runs.events import TrainEvent as TrainEvent
    from paceline.runs.losses import ExampleLosses as ExampleLosses
    from paceline.training.callbacks import CohortView as CohortView
    from paceline.training.callbacks import RunView as RunView
    from paceline.training.estimate import CohortEstimate as CohortEstimate
    from paceline.training.estimate import RunEstimate as RunEstimate
    from paceline.training.step import StepStats as StepStats

# Which module a name is loaded from; the imports above tell type checkers the same.
_NAMES = {
    "paceline.api.callbacks": ["Callback"],
    "paceline.api.comparison": ["Comparison", "compare"],
    "paceline.api.curves": ["Curves"],
    "paceline.api.findings": ["CheckFailed", "Findings"],
    "paceline.api.generation": ["Answer", "generate", "load_adapter"],
    "paceline.api.inspection": ["Report", "diagnose", "write_report"],
    "paceline.api.loading": ["load_recipe", "load_study", "rehearse"],
    "paceline.api.planning": ["check", "plan"],
    "paceline.api.progress": ["ProgressBar"],
    "paceline.api.results": ["RunResult", "StudyResult", "open_study"],
    "paceline.api.study": ["run_study", "train"],
    "paceline.config.recipe": ["Recipe"],
    "paceline.config.study": ["Run", "Study"],
    "paceline.doctor.finding": ["Finding"],
    "paceline.errors": [
        "ConfigError",
        "DataError",
        "EvaluationError",
        "MissingExtra",
        "ModelError",
        "PacelineError",
        "RunError",
        "ServiceError",
        "TrainingError",
    ],
    "paceline.evaluate.adapters": ["AdapterSet"],
    "paceline.runs.directory": ["RunStatus"],
    "paceline.runs.events": [
        "EvalEvent",
        "FailedEvent",
        "FindingEvent",
        "ScoreEvent",
        "StartEvent",
        "TrainEvent",
    ],
    "paceline.runs.losses": ["ExampleLosses"],
    "paceline.training.callbacks": ["CohortView", "RunView"],
    "paceline.training.estimate": ["CohortEstimate", "RunEstimate"],
    "paceline.training.step": ["StepStats"],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted([*_MODULE_OF, "__version__"])

if not TYPE_CHECKING:  # a type checker would take any name for known

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'paceline' has no attribute {name!r}")
        value = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
