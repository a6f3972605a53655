"""What several tests need and no fixture gives."""

from collections.abc import Callable
from pathlib import Path

from paceline.train.callbacks import Callback, CohortView


def adapter_bytes(folder: Path) -> bytes:
    """The weights of a run's adapter, bit for bit."""
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


class StopWhen(Callback):
    """Asks for a stop once `reached` says so of the cohort."""

    def __init__(self, reached: Callable[[CohortView], bool]) -> None:
        self._reached = reached
        self._stop = False

    def on_micro_step(self, cohort: CohortView) -> None:
        self._stop = self._reached(cohort)

    def wants_stop(self) -> bool:
        return self._stop
